"""Methods: from the pool's signals to what the student learns: targets, their importance, and the loss.

``muka`` and ``pool`` choose between the teachers (:mod:`muka_fast.selection.base`) and train on the mixture. ``vkd``,
``uhc``, ``dfa`` and ``cfl``, the literature's, train on all teachers at once and choose nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from muka_fast.config.recipe import SelectionSpec
from muka_fast.distillation.losses import (
    CFLLoss,
    DFALoss,
    DistillationLoss,
    KLDistillationLoss,
    UHCLoss,
)
from muka_fast.errors import RecipeError
from muka_fast.runtime.numerics import softmax
from muka_fast.selection.base import CHOOSING, Pool, Selection, shares, targets

MATCH_FEATURES = {"dfa": DFALoss, "cfl": CFLLoss}


@dataclass(frozen=True)
class DistillationTargets:
    """What a student is to learn of N texts.

    Attributes:
        targets: What the objective compares with, (N, W), fp32.
        sample_weight: Weight of each text in the loss, (N,).
        loss_fn: The loss.
    """

    targets: np.ndarray
    sample_weight: np.ndarray
    loss_fn: DistillationLoss


def require_single_process(method: str, processes: int) -> None:
    """Refuse a method whose objective has parameters to several processes, which would not share their gradients.

    Raises:
        RecipeError: If it is one.
    """
    if method in MATCH_FEATURES and processes > 1:
        raise RecipeError(
            f"method {method!r} trains in one process, not in {processes}",
            where="selection.method",
            hint="start it without torchrun or accelerate launch, or use another method",
        )


def build_targets(pool: Pool, trust: Selection, settings: SelectionSpec, student_width: int) -> DistillationTargets:
    """Return what the recipe's method teaches.

    Args:
        pool: The signals.
        trust: The method's verdict on them, from :func:`muka_fast.selection.base.judge`.
        settings: The recipe's selection section.
        student_width: Features the student's classifier reads.

    Raises:
        RecipeError: If the method matches features and the student or a teacher has none.
    """
    if settings.method in CHOOSING:
        return DistillationTargets(targets(pool, trust), trust.sample_weight, KLDistillationLoss())
    temperature = settings.distillation_temperature
    everyone = np.ones(len(pool))
    if settings.method == "uhc":
        own = [softmax(signals.logits / temperature) for signals in pool.signals]
        return DistillationTargets(np.concatenate(own, axis=1), everyone, UHCLoss(pool.space.union_index, temperature))
    together = concatenated(pool, temperature)
    if settings.method == "vkd":
        return DistillationTargets(together, everyone, KLDistillationLoss(temperature))
    features = [signals.features for signals in pool.signals]
    without = [name for name, own in zip(pool.space.teachers, features, strict=True) if not own.shape[1]]
    if without or not student_width:
        lacking = f"teacher {without[0]!r}" if without else "the student"
        raise RecipeError(
            f"method {settings.method!r} matches features, and {lacking} has none",
            where="selection.method",
            hint="use 'vkd' or 'pool'",
        )
    loss_fn = MATCH_FEATURES[settings.method](
        len(pool.space), [own.shape[1] for own in features], student_width, temperature
    )
    # Standardised, so that features of one teacher do not outweigh another's, or the distillation.
    scaled = [(own - own.mean(0)) / (own.std(0) + 1e-6) for own in features]
    return DistillationTargets(np.concatenate([together, *scaled], axis=1).astype(np.float32), everyone, loss_fn)


def concatenated(pool: Pool, temperature: float) -> np.ndarray:
    """Softmax of all teachers' logits side by side, over T; a class that several know gets the sum, (N, classes)."""
    result = np.zeros((len(pool), len(pool.space)), dtype=np.float32)
    for own, columns in zip(shares(pool, temperature), pool.space.union_index, strict=True):
        result[:, list(columns)] += own
    return result
