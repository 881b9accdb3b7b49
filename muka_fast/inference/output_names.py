"""Names of a model's outputs found by a few labelled texts: which output predicts the texts of which label."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.special import softmax

from muka_fast.config.specs import DataSpec, TeacherSpec
from muka_fast.data.corpus import read_corpus
from muka_fast.data.label_space import normalize_label
from muka_fast.errors import LabelError
from muka_fast.inference.classifier import Classifier
from muka_fast.models.loading import token_limit
from muka_fast.models.teacher import load_unnamed

LEAST_TEXTS = 3
"""Labelled texts that each name needs."""
LEAST_AGREEMENT = 0.5
"""Share of the labelled texts that the model must predict by the names found."""
LEAST_MARGIN = 0.5
"""How much two mean probabilities together must be above those with the two names exchanged; at most 2."""


class OutputNames(NamedTuple):
    """Names of C outputs.

    Attributes:
        names: In column order.
        agreement: Share of the labelled texts that the model predicts by these names.
    """

    names: list[str]
    agreement: float


def assign_names(probabilities: np.ndarray, labels: Sequence[str], where: str) -> OutputNames:
    """Assign the labels of texts to a model's outputs.

    The assignment has the largest sum of mean probabilities, each that of an output over the texts of its name
    (Hungarian method: Kuhn 1955). It is refused where exchanging two names would be nearly as good.

    Args:
        probabilities: The model's, (N, C).
        labels: Label of each text, (N,), spelled as the first text spells it.
        where: The teacher, for messages.

    Raises:
        LabelError: If the labels are not as many as the outputs, a label has too few texts, the model predicts other
            outputs for most texts, or two names cannot be distinguished.
    """
    spelled: dict[str, str] = {}
    keys = [normalize_label(label) for label in labels]
    for key, label in zip(keys, labels, strict=True):
        spelled.setdefault(key, label)
    outputs, order = probabilities.shape[1], sorted(spelled)
    if len(order) != outputs:
        raise LabelError(
            f"the labelled texts have {len(order)} label(s), the head has {outputs} outputs",
            where=where,
            hint="label texts of each of this teacher's classes, and of no other, or list the names under 'labels'",
        )
    rarest, count = min(Counter(keys).items(), key=lambda item: item[1])
    if count < LEAST_TEXTS:
        raise LabelError(
            f"{count} text(s) are labelled {spelled[rarest]!r}; each name needs {LEAST_TEXTS}",
            where=where,
            hint="label more texts, or list the names under 'labels'",
        )
    place = np.array([order.index(key) for key in keys])
    mean = np.stack([probabilities[place == index].mean(0) for index in range(outputs)], axis=1)  # (outputs, labels)
    _, chosen = linear_sum_assignment(mean, maximize=True)
    ordered = mean[:, chosen]  # the names in the order of the outputs
    own = np.diag(ordered)
    margin = own[:, None] + own - ordered - ordered.T
    np.fill_diagonal(margin, np.inf)
    one, other = np.unravel_index(margin.argmin(), margin.shape)
    names = [spelled[order[index]] for index in chosen]
    agreement = float((chosen[probabilities.argmax(1)] == place).mean())
    if agreement < LEAST_AGREEMENT:
        raise LabelError(
            f"the model predicts only {agreement:.0%} of the labelled texts by any names of its outputs",
            where=where,
            hint="check the labels and the text column, or list the names under 'labels'",
        )
    if margin[one, other] < LEAST_MARGIN:
        raise LabelError(
            f"the labelled texts do not show which of the outputs {one} and {other} is {names[one]!r} and which "
            f"{names[other]!r}",
            where=where,
            hint="label more texts of both, or list the names under 'labels'",
        )
    return OutputNames(names, agreement)


def names_from_texts(
    spec: TeacherSpec, texts: DataSpec, device: torch.device, log: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Return the names of a model's outputs in column order, found by labelled texts.

    Args:
        spec: The teacher, a model.
        texts: The labelled texts; rows without a label do not count.
        device: Where the model runs.
        log: Receives a line for each guessed column, and the share of the texts that fit the names.

    Raises:
        CorpusError: If the texts cannot be read.
        ModelError: If the model cannot be used.
        LabelError: As :func:`assign_names`.
    """
    corpus = read_corpus(texts, with_labels=True, distinct=False, log=log)
    labels = corpus.labels or ()
    corpus = corpus.take([row for row, label in enumerate(labels) if label.strip() and corpus.texts[row].strip()])
    model, tokenizer, where = load_unnamed(spec, device)
    outputs = tuple(map(str, range(model.config.num_labels)))
    classifier = Classifier(model, tokenizer, outputs, token_limit(model, tokenizer, spec.max_length))
    with corpus.locating_errors():
        logits = classifier.logits(corpus.texts, corpus.pairs)
    found = assign_names(softmax(logits, axis=1), corpus.labels or (), where)
    log(
        f"{where}: names of {len(found.names)} outputs from {len(corpus)} labelled texts, of which it "
        f"predicts {found.agreement:.0%} by these names: {', '.join(found.names)}"
    )
    return found.names
