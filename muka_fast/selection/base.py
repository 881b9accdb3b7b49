"""What selection reads and returns: a pool of scored texts, and the weight of each teacher for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.runtime.computed_rows import RowArray, Rows
from muka_fast.runtime.mapped import mapped_chunks, take_rows
from muka_fast.selection.in_domain import InDomainModel
from muka_fast.selection.ngrams import NgramSpace
from muka_fast.selection.reliability import Reliability
from muka_fast.uncertainty.signals import Signals

ALL = slice(None)
"""The rows of all texts."""


@dataclass(frozen=True)
class Pool:
    """All that selection sees of N texts.

    Attributes:
        signals: Every teacher's.
        space: How the teachers' columns lie in the label space.
        ids: Text ids, (N,).
        embeddings: By a pretrained encoder, or of n-grams, (N, D); None if the method needs none.
        name_similarity: Cosines of texts and class names in that encoder, (N, C); None without one.
        ngrams: Made the embeddings; None where an encoder did.
        classes: Column of the class of each text that the recipe gives a label for, −1 for all others, (N,); None if it
            gives none.
    """

    signals: tuple[Signals, ...]
    space: LabelSpace
    ids: np.ndarray
    embeddings: RowArray | None = None
    name_similarity: RowArray | None = None
    ngrams: NgramSpace | None = None
    classes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.signals[0])


@dataclass(frozen=True)
class Selection:
    """Which teachers are trusted for N texts; T teachers.

    Attributes:
        trust_scores: Scores that the teachers were compared by, (N, T).
        soft_weights: Weight of each teacher, (N, T), rows summing to one.
        sample_weight: Weight of each text in the student's loss, (N,).
        hard: Whether the teacher of the largest weight alone makes the target.
        reliability: Estimated recall of the choice; None for methods that estimate none.
        model: What was fitted to the pool, for texts outside it; None for methods that fit nothing.
    """

    trust_scores: np.ndarray
    soft_weights: np.ndarray
    sample_weight: np.ndarray
    hard: bool = False
    reliability: Reliability | None = None
    model: InDomainModel | None = None

    @property
    def chosen(self) -> np.ndarray:
        """The teacher of the largest weight, (N,)."""
        return self.soft_weights.argmax(1)

    @property
    def teacher_weights(self) -> np.ndarray:
        """Share of each teacher in the target, (N, T), rows summing to one."""
        return self.weights_of(ALL)

    def weights_of(self, rows: Rows) -> np.ndarray:
        """Return :attr:`teacher_weights` of the texts at ``rows``, (M, T)."""
        soft = self.soft_weights[rows]
        return np.eye(soft.shape[1])[soft.argmax(1)] if self.hard else soft

    @property
    def margin(self) -> np.ndarray:
        """Difference of the two largest trust scores, (N,)."""
        top = np.sort(self.trust_scores, axis=1)[:, -2:]
        return top[:, 1] - top[:, 0]


def joint_softmax(pool: Pool, temperature: float = 1.0, rows: Rows = ALL) -> list[np.ndarray]:
    """Return each teacher's part of the softmax over all teachers' logits side by side, (M, C_t) fp32 each.

    Args:
        pool: N texts.
        temperature: Of the softmax.
        rows: The M texts; default: all.
    """
    together = torch.from_numpy(np.concatenate([take_rows(signals.logits, rows) for signals in pool.signals], axis=1))
    widths = [signals.logits.shape[1] for signals in pool.signals]
    return [part.numpy() for part in (together / temperature).softmax(-1).split(widths, dim=1)]


def joint_softmax_rule(pool: Pool) -> Selection:
    """Weight each teacher by the share of its classes in the softmax over all teachers' logits side by side."""
    weights = np.empty((len(pool), len(pool.signals)))
    for rows in mapped_chunks(len(pool)):
        weights[rows] = np.stack([part.sum(1) for part in joint_softmax(pool, rows=rows)], axis=1)
    return Selection(weights, weights, np.ones(len(pool)))


def targets(pool: Pool, selection: Selection, rows: Rows = ALL) -> np.ndarray:
    """Mix the teachers' deterministic distributions, padded into the label space, by weight.

    The target of a text whose class is given is this class alone.

    Args:
        pool: N texts.
        selection: The teachers' weights on them.
        rows: The M texts; default: all.

    Returns:
        The student's target distributions, (M, classes), fp32, rows summing to one.
    """
    weights = selection.weights_of(rows)
    mixed = np.zeros((len(weights), len(pool.space)), dtype=np.float32)
    for teacher, signals in enumerate(pool.signals):
        own = torch.from_numpy(take_rows(signals.logits, rows)).softmax(-1)
        weighted = weights[:, teacher, None] * own.double().numpy()
        mixed[:, list(pool.space.union_index[teacher])] += weighted.astype(np.float32)
    if pool.classes is not None:
        classes = pool.classes[rows]
        labelled = np.flatnonzero(classes >= 0)
        mixed[labelled] = np.eye(len(pool.space), dtype=np.float32)[classes[labelled]]
    return mixed


def class_votes(pool: Pool, selection: Selection, indices: np.ndarray) -> np.ndarray:
    """Weigh each teacher's most likely class by the teacher's soft weight.

    If the weights are probabilities that a teacher is in-domain, and its most likely class is then right, the result is
    the probability of each class.

    Returns:
        Distributions over the label space of the texts at ``indices``, (M, classes).
    """
    votes = np.zeros((len(indices), len(pool.space)))
    rows = np.arange(len(indices))
    for teacher, predicted in enumerate(teacher_predictions(pool, indices).T):
        votes[rows, predicted] += selection.soft_weights[indices, teacher]
    return votes


def teacher_predictions(pool: Pool, rows: Rows = ALL) -> np.ndarray:
    """Return each teacher's own most likely class as a union column, (M, T), of the texts at ``rows``; default: all."""
    columns: Sequence[np.ndarray] = [
        np.asarray(pool.space.union_index[teacher])[take_rows(signals.logits, rows).argmax(1)]
        for teacher, signals in enumerate(pool.signals)
    ]
    return np.stack(columns, axis=1)
