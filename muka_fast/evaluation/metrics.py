"""Metrics against labelled texts: accuracy, macro-F1, a table by class, and what teachers and selection get right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from muka_fast.data.label_space import LabelSpace
from muka_fast.selection.base import Pool, Selection, targets, teacher_predictions


@dataclass(frozen=True)
class ClassMetrics:
    """One class: precision, recall, F1 (0 where undefined) and how many texts have it."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True)
class ClassificationMetrics:
    """Accuracy, macro-F1 over the classes that occur as a label, and each of those classes."""

    accuracy: float
    macro_f1: float
    count: int
    classes: tuple[ClassMetrics, ...]


def classification_metrics(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> ClassificationMetrics:
    """Compare predictions with labels.

    Args:
        truth: Class indices, (N,), N ≥ 1.
        predicted: Class indices, (N,).
        names: Class names.
    """
    classes = []
    for index, name in enumerate(names):
        support = int((truth == index).sum())
        if support:
            hits = int(((truth == index) & (predicted == index)).sum())
            said = int((predicted == index).sum())
            precision, recall = hits / said if said else 0.0, hits / support
            f1 = 2 * hits / (said + support)
            classes.append(ClassMetrics(name, precision, recall, f1, support))
    return ClassificationMetrics(
        accuracy=float((truth == predicted).mean()),
        macro_f1=float(np.mean([figure.f1 for figure in classes])),
        count=len(truth),
        classes=tuple(classes),
    )


@dataclass(frozen=True)
class SelectionMetrics:
    """What teachers and selection get right, before any student.

    Attributes:
        teachers: Accuracy of each teacher alone over all texts; texts of classes it lacks count as wrong.
        own: Accuracy of each teacher on the texts of its own classes.
        oracle: Accuracy if the right teacher were always chosen (any of them, where several know the class).
        selection: Accuracy of the most likely class of the target mixture.
        chosen: Share of texts whose chosen teacher knows the class, over texts whose class some teacher lacks;
            None if every teacher knows every class.
    """

    teachers: dict[str, float]
    own: dict[str, float]
    oracle: float
    selection: float
    chosen: float | None


def selection_metrics(pool: Pool, trust: Selection, truth: np.ndarray) -> SelectionMetrics:
    """Compare teachers, oracle and selection with labels given as union columns, (N,)."""
    space: LabelSpace = pool.space
    right = teacher_predictions(pool) == truth[:, None]
    owned = space.membership[:, truth].T
    telling = ~owned.all(1)
    chosen = owned[np.arange(len(truth)), trust.chosen]
    return SelectionMetrics(
        teachers={name: float(right[:, i].mean()) for i, name in enumerate(space.teachers)},
        own={
            name: float(right[owned[:, i], i].mean()) if owned[:, i].any() else 0.0
            for i, name in enumerate(space.teachers)
        },
        oracle=float((right & owned).any(1).mean()),
        selection=float((targets(pool, trust).argmax(1) == truth).mean()),
        chosen=float(chosen[telling].mean()) if telling.any() else None,
    )
