"""Array functions that several rooms need; numpy alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

ROWS_AT_ONCE = 65_536


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last dimension, fp32."""
    shifted = np.exp(logits - logits.max(-1, keepdims=True), dtype=np.float64)
    return (shifted / shifted.sum(-1, keepdims=True)).astype(np.float32)


def row_chunks(count: int, size: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Cut ``count`` rows into slices of at most ``size``, small enough to be copied."""
    for start in range(0, count, size):
        yield slice(start, start + size)
