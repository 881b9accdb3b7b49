"""Evidence of a reference sample, and of other texts, before any teacher is chosen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import log_softmax, softmax

from muka_fast.selection.evidence import NameStatistics, TeacherEvidence, stack
from muka_fast.selection.neighbours import diffuse
from muka_fast.selection.prototypes import Prototypes
from muka_fast.selection.texts import Texts
from muka_fast.selection.views import Views

FULL_WORTH = 1.5
"""Standardised similarity of anchors to their classes' names from which on names count in full."""


@dataclass(frozen=True)
class FirstStage:
    """Evidence of a reference sample of M texts before any teacher is chosen.

    Attributes:
        teachers: Each teacher's statistics.
        names: Statistics of the class names; None where they are not compared.
        name_weight: How much class names count, from 0 (they say nothing about the anchors) to 1.
        views: Where neighbours are looked for.
        matrix: Mean of their graphs' normalised edges, (M, M).
        values: Numbers of each (text, teacher), (M, T, F).
        diffused: The same diffused over the graph, (M, T, F).
        vectors: Where prototypes are compared with texts, (M, D).
        predicted: Each teacher's most likely class, (M, T).
        classes: Number of classes of each teacher.
    """

    teachers: tuple[TeacherEvidence, ...]
    names: NameStatistics | None
    name_weight: float
    views: Views
    matrix: csr_matrix
    values: np.ndarray
    diffused: np.ndarray
    vectors: np.ndarray
    predicted: np.ndarray
    classes: list[int]

    @classmethod
    def fit(cls, texts: Texts, numbers: tuple[str, ...]) -> FirstStage:
        """Measure the evidence.

        Args:
            texts: The sample.
            numbers: Names of the numbers to keep.
        """
        names = None if texts.names is None else NameStatistics.fit(texts.names[:])
        scaled, standard = standardised_names(names, texts)
        fits, found = [], []
        for logits, features, columns in zip(texts.logits, texts.features, texts.columns, strict=True):
            fit, own = TeacherEvidence.fit(logits, features, None if scaled is None else scaled[:, columns])
            fits.append(fit)
            found.append(own)
        name_weight = float(np.clip(np.mean([fit.name_worth for fit in fits]) / FULL_WORTH, 0, 1))
        values = join_numbers(found, numbers, texts, standard, name_weight)
        views, matrix = Views.fit(texts)
        diffused = diffuse(matrix, values.reshape(len(values), -1)).reshape(values.shape)
        return cls(
            tuple(fits), names, name_weight, views, matrix, values, diffused,
            views.join(views.apply(texts), standard), texts.predicted, [one.shape[1] for one in texts.logits],
        )  # fmt: skip

    def prototypes(self, score: np.ndarray) -> tuple[Prototypes | None, np.ndarray | None]:
        """Fit prototypes to a first score (M, T), and return their numbers, (M, T, P); None if no class has anchors."""
        found = Prototypes.fit(self.vectors, softmax(score, axis=1), margins(score), self.predicted, self.classes)
        return (None, None) if found is None else found


def standardised_names(names: NameStatistics | None, texts: Texts) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return name similarities on one scale, and standardised by class, (N, C) each."""
    if names is None or texts.names is None:
        return None, None
    found = texts.names[:]
    return names.apply(found), names.standardise(found)


def join_numbers(
    numbers: list[dict[str, np.ndarray]],
    wanted: tuple[str, ...],
    texts: Texts,
    standard: np.ndarray | None,
    name_weight: float,
) -> np.ndarray:
    """Put the teachers' numbers together, (N, T, F); the best name counts as far as names tell."""
    if standard is not None:
        posterior = log_softmax(standard, axis=1)
        for found, columns in zip(numbers, texts.columns, strict=True):
            found["name mass"] = np.logaddexp.reduce(posterior[:, columns], axis=1) - np.log(len(columns))
            found["name best"] = name_weight * found["name best"]
    return stack(numbers, wanted)


def margins(score: np.ndarray) -> np.ndarray:
    """Score of each teacher less the largest of the others, (N, T)."""
    if score.shape[1] == 1:
        return score
    ordered = np.sort(score, axis=1)
    best = score == ordered[:, -1:]
    return score - np.where(best, ordered[:, -2:-1], ordered[:, -1:])
