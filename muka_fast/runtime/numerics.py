"""Array functions that several packages share; needs NumPy alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist

import numpy as np

ROWS_AT_ONCE = 65_536
"""Rows of a chunk."""
TWO_SIDED_95 = NormalDist().inv_cdf(0.975)
"""Standard errors between an estimate and either end of its two-sided 95 % interval."""


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax over the last dimension, fp32."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True), dtype=np.float64)
    return (shifted / shifted.sum(-1, keepdims=True)).astype(np.float32)


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy over the last dimension in nats, fp64, never negative; 0 · log 0 is 0."""
    p = probabilities.astype(np.float64)
    return np.maximum(-(p * np.log(np.maximum(p, np.finfo(np.float64).tiny))).sum(-1), 0)


def wilson_interval(share: float, count: int, z: float = TWO_SIDED_95) -> tuple[float, float]:
    """Return Wilson's score interval of a proportion (Wilson 1927).

    Args:
        share: Observed proportion, 0 to 1.
        count: Size of the sample; without a sample the interval is (0, 1).
        z: Standard errors between the estimate and either end.
    """
    if not count:
        return 0.0, 1.0
    square = z**2 / count
    spread = z * math.sqrt(share * (1 - share) / count + square / (4 * count))
    return max(0.0, (share + square / 2 - spread) / (1 + square)), min(
        1.0, (share + square / 2 + spread) / (1 + square)
    )


def row_chunks(count: int, size: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Split ``count`` rows into slices of at most ``size``, so that copies of a chunk stay small."""
    for start in range(0, count, size):
        yield slice(start, start + size)
