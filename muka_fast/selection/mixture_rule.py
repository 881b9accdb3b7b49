"""Selection by the mixture model over the whole pool, with MUKA's rule where its two views disagree."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from muka_fast.selection.base import Pool, Selection
from muka_fast.selection.mixture import TeacherMixture, fit_mixture
from muka_fast.selection.muka_rule import muka_rule
from muka_fast.selection.ood_scores import TeacherOutputs
from muka_fast.selection.trust_scores import probabilities


def teacher_outputs(pool: Pool) -> list[TeacherOutputs]:
    """Return what the mixture reads of each teacher."""
    known_by = [tuple(column) for column in pool.space.membership.T.tolist()]
    sets = list(dict.fromkeys(known_by))
    membership = np.array([sets.index(teachers) for teachers in known_by])
    return [
        TeacherOutputs(
            probabilities=probabilities(signals).numpy(),
            energy=signals.mean_energy,
            features=signals.features if signals.features.shape[1] else None,
            owners=membership[list(columns)],
        )
        for signals, columns in zip(pool.signals, pool.space.union_index, strict=True)
    ]


def mixture_rule(pool: Pool, model: TeacherMixture | None = None, *, hard: bool = False) -> Selection:
    """Weight the teachers of each text by the posterior of :mod:`muka_fast.selection.mixture`.

    All texts have sample weight 1, those of the background too: texts of a rare class are easily taken for background.
    If the mixture's two views may agree but slightly, MUKA's rule is applied instead, to the signals there are.

    Args:
        pool: The texts.
        model: A mixture that was fitted to another pool; default: one is fitted to this pool.
        hard: Whether the teacher of the largest weight alone makes the target.
    """
    if model is None:
        ownership, model = fit_mixture(teacher_outputs(pool), pool.embeddings, pool.ids)
    else:
        ownership = model.judge(teacher_outputs(pool), pool.embeddings)
    if ownership.views_disagree:
        return replace(muka_rule(pool, hard=hard), ownership=ownership, model=model)
    posterior = ownership.posterior
    return Selection(posterior, posterior, np.ones(len(posterior)), hard, ownership, model)
