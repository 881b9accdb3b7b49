"""Training targets: what the student's loss compares with, made from the pool's signals and the selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from muka_fast.distillation.losses import DistillationLoss, FeatureMatchingLoss, KLDistillationLoss
from muka_fast.errors import RecipeError
from muka_fast.runtime.computed_rows import ComputedRows, RowArray, Rows
from muka_fast.selection.base import Pool, Selection, joint_softmax, targets

STANDARDISED_ON = 50_000
"""Texts that the scale of the features is measured on, about."""


@dataclass(frozen=True)
class DistillationTargets:
    """What a student is trained on, N texts.

    Attributes:
        targets: What the loss compares with, (N, W), fp32; computed where it is read.
        sample_weight: Weight of each text in the loss, (N,).
        loss_fn: The loss.
        are_probabilities: Whether the targets are class distributions that the student's softmax at temperature 1
            should equal; its temperature is then fitted to them, and its fidelity measured.
    """

    targets: RowArray
    sample_weight: np.ndarray
    loss_fn: DistillationLoss
    are_probabilities: bool = False


def mixture_targets(pool: Pool, selection: Selection) -> DistillationTargets:
    """Return the teachers' distributions mixed by the selection's weights, for the KL divergence."""
    rows = ComputedRows((len(pool), len(pool.space)), lambda rows: targets(pool, selection, rows))
    return DistillationTargets(rows, selection.sample_weight, KLDistillationLoss(), are_probabilities=True)


def joint_targets(pool: Pool, temperature: float) -> ComputedRows:
    """Softmax of all teachers' logits side by side, over T; a class that several know gets the sum, (N, classes)."""
    classes = len(pool.space)

    def compute(rows: Rows) -> np.ndarray:
        parts = joint_softmax(pool, temperature, rows)
        result = np.zeros((len(parts[0]), classes), dtype=np.float32)
        for own, columns in zip(parts, pool.space.union_index, strict=True):
            result[:, list(columns)] += own
        return result

    return ComputedRows((len(pool), classes), compute)


def feature_matching_targets(
    pool: Pool,
    loss: Callable[[int, Sequence[int], int, float], FeatureMatchingLoss],
    temperature: float,
    student_width: int,
    reader: str,
) -> DistillationTargets:
    """Return :func:`joint_targets` and every teacher's standardised features, side by side.

    Args:
        pool: The signals.
        loss: Makes the loss from number of classes, teachers' widths, student's width, and temperature.
        temperature: T of the distillation part.
        student_width: Features that the student's classifier reads.
        reader: What needs the features, for the message.

    Raises:
        RecipeError: If the student or a teacher has no features.
    """
    features = [signals.features for signals in pool.signals]
    without = [name for name, own in zip(pool.space.teachers, features, strict=True) if not own.shape[1]]
    if without or not student_width:
        lacking = f"teacher {without[0]!r}" if without else "the student"
        raise RecipeError(
            f"{reader} matches features, and {lacking} has none", where="selection.method", hint="use 'vkd' or 'pool'"
        )
    loss_fn = loss(len(pool.space), [own.shape[1] for own in features], student_width, temperature)
    # Standardised, so that features of one teacher do not outweigh another's, or the distillation.
    scales = [_mean_and_spread(own) for own in features]
    joint = joint_targets(pool, temperature)

    def compute(rows: Rows) -> np.ndarray:
        scaled = [(own[rows] - mean) / (spread + 1e-6) for own, (mean, spread) in zip(features, scales, strict=True)]
        return np.concatenate([joint[rows], *scaled], axis=1).astype(np.float32)

    width = joint.shape[1] + sum(own.shape[1] for own in features)
    return DistillationTargets(ComputedRows((len(pool), width), compute), np.ones(len(pool)), loss_fn)


def _mean_and_spread(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column, (F,), of about ``STANDARDISED_ON`` rows, evenly spaced."""
    some = features[:: max(1, len(features) // STANDARDISED_ON)]
    return some.mean(0), some.std(0)
