"""What selection reads and returns: a pool of scored texts, and the weight of each teacher for each text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.selection.mixture import MixturePosterior, TeacherMixture
from muka_fast.selection.trust_scores import probabilities
from muka_fast.uncertainty.signals import Signals


@dataclass(frozen=True)
class Pool:
    """All that selection sees of N texts; no label is among it.

    Attributes:
        signals: Every teacher's.
        space: How the teachers' columns lie in the label space.
        ids: Text ids, (N,).
        embeddings: From :func:`~muka_fast.selection.text_embeddings.embed`, (N, D); None if the method needs none.
    """

    signals: tuple[Signals, ...]
    space: LabelSpace
    ids: np.ndarray
    embeddings: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.signals[0])


@dataclass(frozen=True)
class Selection:
    """Verdict on N texts and T teachers.

    Attributes:
        scores: Selection scores, (N, T).
        belief: In each teacher, (N, T), rows summing to one.
        sample_weight: Weight of each text in the student's loss, (N,).
        hard: Whether the most trusted teacher alone makes the target.
        ownership: What the pool said, if it was asked.
        model: What the pool taught, for texts outside it.
    """

    scores: np.ndarray
    belief: np.ndarray
    sample_weight: np.ndarray
    hard: bool = False
    ownership: MixturePosterior | None = None
    model: TeacherMixture | None = None

    @property
    def chosen(self) -> np.ndarray:
        """The most trusted teacher of each text, (N,)."""
        return self.belief.argmax(1)

    @property
    def weights(self) -> np.ndarray:
        """Share of each teacher in the target, (N, T), rows summing to one."""
        return np.eye(self.belief.shape[1])[self.chosen] if self.hard else self.belief

    @property
    def margin(self) -> np.ndarray:
        """Difference of the two largest scores, (N,)."""
        top = np.sort(self.scores, axis=1)[:, -2:]
        return top[:, 1] - top[:, 0]


def joint_softmax(pool: Pool, temperature: float = 1.0) -> list[np.ndarray]:
    """Return each teacher's part of the softmax over all teachers' logits side by side, (N, C_t) fp32 each."""
    together = torch.from_numpy(np.concatenate([signals.logits for signals in pool.signals], axis=1))
    widths = [signals.logits.shape[1] for signals in pool.signals]
    return [part.numpy() for part in (together / temperature).softmax(-1).split(widths, dim=1)]


def joint_softmax_rule(pool: Pool) -> Selection:
    """Weight each teacher by the share of its classes in the softmax over all teachers' logits side by side."""
    weights = np.stack([part.sum(1) for part in joint_softmax(pool)], axis=1).astype(np.float64)
    return Selection(weights, weights, np.ones(len(pool)))


def targets(pool: Pool, trust: Selection) -> np.ndarray:
    """Mix the teachers' deterministic distributions, padded into the label space, by trust.

    Returns:
        The student's target distributions, (N, classes), fp32, rows summing to one.
    """
    mixed = np.zeros((len(pool), len(pool.space)), dtype=np.float32)
    for teacher, signals in enumerate(pool.signals):
        weighted = trust.weights[:, teacher, None] * probabilities(signals).double().numpy()
        mixed[:, list(pool.space.union_index[teacher])] += weighted.astype(np.float32)
    return mixed


def teacher_predictions(pool: Pool) -> np.ndarray:
    """Return each teacher's own most likely class as a union column, (N, T)."""
    columns: Sequence[np.ndarray] = [
        np.asarray(pool.space.union_index[teacher])[signals.logits.argmax(1)]
        for teacher, signals in enumerate(pool.signals)
    ]
    return np.stack(columns, axis=1)
