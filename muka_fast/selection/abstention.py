"""Teachers that abstain: tables of predictions without a preference for some texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from muka_fast.runtime.mapped import mapped_chunks
from muka_fast.selection.base import Selection
from muka_fast.uncertainty.signals import Signals


def abstentions(signals: Sequence[Signals], tables: Sequence[bool]) -> np.ndarray:
    """Return which teacher has no preference among its classes, (N, T) bool: all of its logits are equal.

    Args:
        signals: Every teacher's, for N texts.
        tables: Which teachers are tables of predictions, (T,); models never abstain.
    """
    found = np.zeros((len(signals[0]), len(signals)), dtype=bool)
    for rows in mapped_chunks(len(found)) if any(tables) else ():
        for teacher in np.flatnonzero(tables).tolist():
            logits = signals[teacher].logits[rows]
            found[rows, teacher] = (logits == logits[:, :1]).all(1)
    return found


def without_abstentions(selection: Selection, abstains: np.ndarray) -> Selection:
    """Give teachers no weight where they abstain; a text on which all of them abstain counts nothing.

    Args:
        selection: Of N texts and T teachers.
        abstains: Of :func:`abstentions`, (N, T).
    """
    if not abstains.any():
        return selection
    nothing_left = np.asarray(abstains.all(axis=1))[:, None]
    weights = np.where(abstains & ~nothing_left, 0.0, selection.soft_weights)
    total = weights.sum(1, keepdims=True)
    others = (~abstains).astype(np.float64)  # where the weight of the others is too small to be divided
    weights = np.where(
        total > 1e-12, weights / np.maximum(total, 1e-12), others / np.maximum(others.sum(1), 1)[:, None]
    )
    lowest = selection.trust_scores.min(1, keepdims=True)
    return replace(
        selection,
        soft_weights=weights,
        trust_scores=np.where(abstains, lowest, selection.trust_scores),
        sample_weight=np.where(nothing_left[:, 0], 0.0, selection.sample_weight),
    )
