"""Metrics: a classifier, teachers and selection on labelled texts; a student against its targets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.evaluation_record import (
    ClassificationMetrics,
    ClassMetrics,
    ConfusedPair,
    SelectionMetrics,
)
from muka_fast.evaluation.run_record import Fidelity
from muka_fast.selection.base import Pool, Selection, targets, teacher_predictions

MOST_CONFUSED = 20


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
            predictions = int((predicted == index).sum())
            precision, recall = hits / predictions if predictions else 0.0, hits / support
            f1 = 2 * hits / (predictions + support)
            classes.append(ClassMetrics(name=name, precision=precision, recall=recall, f1=f1, support=support))
    return ClassificationMetrics(
        accuracy=float((truth == predicted).mean()),
        macro_f1=float(np.mean([one.f1 for one in classes])),
        count=len(truth),
        classes=classes,
    )


def confused_pairs(truth: np.ndarray, predicted: np.ndarray, names: Sequence[str]) -> list[ConfusedPair]:
    """Return the pairs of true and predicted class with the most texts, at most 20, most texts first.

    Pairs of equally many texts are in the order of the classes.

    Args:
        truth: Class indices, (N,).
        predicted: Class indices, (N,).
        names: Class names, (C,).
    """
    wrong = truth != predicted
    pairs, counts = np.unique(truth[wrong] * len(names) + predicted[wrong], return_counts=True)
    most = np.argsort(-counts, kind="stable")[:MOST_CONFUSED]
    return [
        ConfusedPair(true=names[pair // len(names)], predicted=names[pair % len(names)], count=count)
        for pair, count in zip(pairs[most].tolist(), counts[most].tolist(), strict=True)
    ]


def _accuracy(right: np.ndarray, rows: np.ndarray) -> float | None:
    """Return the share of these rows that are right; None without any."""
    return float(right[rows].mean()) if rows.any() else None


def selection_metrics(
    pool: Pool, trust: Selection, truth: np.ndarray, answered: np.ndarray | None = None
) -> SelectionMetrics:
    """Compare teachers, oracle and selection with labels.

    Args:
        pool: The labelled texts, scored.
        trust: The selection on them.
        truth: Class indices, (N,), N ≥ 1.
        answered: Which teacher has a prediction for which text, (N, T) bool; default: every teacher for all.
    """
    space: LabelSpace = pool.space
    there = np.ones((len(pool), len(space.teachers)), dtype=bool) if answered is None else answered
    right = (teacher_predictions(pool) == truth[:, None]) & there
    known = space.membership[:, truth].T  # (N, T): whether the teacher has the text's class
    exclusive = ~known.all(1)
    routed = known[np.arange(len(truth)), trust.chosen]
    rows = (known & there).any(1)  # else no teacher can be right
    return SelectionMetrics(
        teachers={name: _accuracy(right[:, i], there[:, i]) for i, name in enumerate(space.teachers)},
        own_classes={name: _accuracy(right[:, i], known[:, i] & there[:, i]) for i, name in enumerate(space.teachers)},
        answered={name: int(there[:, i].sum()) for i, name in enumerate(space.teachers) if not there[:, i].all()},
        measured=int(rows.sum()),
        oracle=_accuracy((right & known).any(1), rows),
        selection=_accuracy(targets(pool, trust).argmax(1) == truth, rows),
        routing_accuracy=_accuracy(routed, rows & exclusive),
    )


def fidelity(logits: np.ndarray, targets: np.ndarray, *, held_out: bool) -> Fidelity:
    """Compare a student with its targets.

    Args:
        logits: The student's, (N, C), N ≥ 1.
        targets: Distributions, (N, C).
        held_out: Whether the student was not trained on these texts.
    """
    agreement = float((logits.argmax(1) == targets.argmax(1)).mean())
    return Fidelity(agreement=agreement, texts=len(logits), held_out=held_out)
