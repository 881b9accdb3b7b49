"""Predictions as columns that are added to a table. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from muka_fast.errors import RecipeError
from muka_fast.inference.predictions import Calibration, Distributions
from muka_fast.runtime.numerics import entropy

DECIMALS = 6
"""Decimals of a probability."""


@dataclass(frozen=True)
class ColumnOptions:
    """Which columns are added.

    Attributes:
        top: Number of classes that are named, the most likely first.
        probabilities: Add the probability of each class, and of each teacher.
        uncertainty: Add entropy and, of a single model, energy.
        prefix: Begins the name of each column.
    """

    top: int = 1
    probabilities: bool = False
    uncertainty: bool = False
    prefix: str = ""


def prediction_columns(
    found: Distributions, labels: Sequence[str], calibration: Calibration, options: ColumnOptions
) -> dict[str, np.ndarray]:
    """Return the predictions of N texts as columns.

    ``label`` (None if the classifier abstains), ``score``, ``abstained``; for each further class of ``top``
    ``label_2``, ``score_2`` and so on; with ``uncertainty`` ``entropy`` and ``energy``; with ``probabilities``
    ``probability_CLASS`` for each class.

    Args:
        found: Distributions of the texts.
        labels: Class names in column order.
        calibration: Its threshold decides where the classifier abstains.
        options: Which columns.

    Returns:
        Columns of N values: float64, bool, or strings and None as objects.

    Raises:
        RecipeError: If ``top`` is less than one or more than the number of classes.
    """
    if not 1 <= options.top <= len(labels):
        raise RecipeError(
            f"not a number of classes: {options.top}", where="--top", hint=f"give a number from 1 to {len(labels)}"
        )
    probabilities = found.probabilities.astype(np.float64)
    names = np.array(labels, dtype=object)
    order = np.argsort(-probabilities, axis=1, kind="stable")[:, : options.top]
    scores = np.take_along_axis(probabilities, order, axis=1)
    abstained = scores[:, 0] < calibration.abstain_below
    best = names[order[:, 0]]
    best[abstained] = None
    columns = {"label": best, "score": scores[:, 0], "abstained": abstained}
    for rank in range(1, options.top):
        columns |= {f"label_{rank + 1}": names[order[:, rank]], f"score_{rank + 1}": scores[:, rank]}
    if options.uncertainty:
        columns["entropy"] = entropy(probabilities)
        if found.energies is not None:
            columns["energy"] = found.energies
    if options.probabilities:
        columns |= {f"probability_{label}": probabilities[:, column] for column, label in enumerate(labels)}
    return _finish(columns, options)


def teacher_columns(
    posterior: np.ndarray, predicted: np.ndarray, teachers: Sequence[str], labels: Sequence[str], options: ColumnOptions
) -> dict[str, np.ndarray]:
    """Return the choice of a teacher for N texts as columns.

    ``teacher`` (the one that is most likely in-domain), ``teacher_posterior``, ``teacher_label`` (its own most likely
    class); with ``probabilities`` ``posterior_TEACHER`` for each teacher.

    Args:
        posterior: Weight of each teacher, (N, T).
        predicted: Each teacher's most likely class, as an index of ``labels``, (N, T).
        teachers: Names of the teachers.
        labels: Class names.
        options: Which columns.
    """
    rows, chosen = np.arange(len(posterior)), posterior.argmax(1)
    columns = {
        "teacher": np.array(teachers, dtype=object)[chosen],
        "teacher_posterior": posterior[rows, chosen],
        "teacher_label": np.array(labels, dtype=object)[predicted[rows, chosen]],
    }
    if options.probabilities:
        columns |= {f"posterior_{name}": posterior[:, column] for column, name in enumerate(teachers)}
    return _finish(columns, options)


def _finish(columns: Mapping[str, np.ndarray], options: ColumnOptions) -> dict[str, np.ndarray]:
    return {
        f"{options.prefix}{name}": column.astype(np.float64).round(DECIMALS) if column.dtype.kind == "f" else column
        for name, column in columns.items()
    }
