"""MUKA's rule (Li et al. 2021, arXiv 2112.07327): teachers weighted text by text by their trust scores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from muka_fast.selection.base import Pool, Selection
from muka_fast.selection.trust_scores import TRUST_SCORES


def muka_rule(
    pool: Pool,
    trust: str = "predictive-entropy",
    *,
    temperature: float = 0.2,
    margin_weighting: bool = True,
    hard: bool = False,
) -> Selection:
    """Weight the teachers of each text by softmax(score / temperature), or take the one of the largest score.

    Args:
        pool: N texts and T teachers.
        trust: Name of a score in :data:`~muka_fast.selection.trust_scores.TRUST_SCORES`.
        temperature: Of the softmax over the teachers' scores.
        margin_weighting: Whether the difference of the two largest scores is the text's sample weight.
        hard: Whether the teacher of the largest score alone makes the target.
    """
    scores = np.stack([TRUST_SCORES[trust](signals) for signals in pool.signals], axis=1).astype(np.float64)
    weights = torch.from_numpy(scores / temperature).softmax(-1).numpy()
    selection = Selection(scores, weights, np.ones(len(scores)), hard)
    # Not renormalised, as the authors do it: the effective learning rate shrinks with the mean margin.
    return replace(selection, sample_weight=selection.margin + 1e-6) if margin_weighting else selection
