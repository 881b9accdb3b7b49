"""Length-sorted batches under a token budget; needs numpy alone, so that deployment has it too."""

from __future__ import annotations

import numpy as np

TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}
"""Tokens of a batch, all passes together, by kind of device; a GPU needs more rows to be busy between launches.
On a CPU 2,048 need less memory and more time (benchmarks/NOTES.md)."""
LEAST_FILLED = 0.8
"""Length, relative to the longest of a batch, from which on a text is not worth padding."""


def token_batches(lengths: np.ndarray, ids: np.ndarray, budget: int, enough: int | None = None) -> list[np.ndarray]:
    """Cut texts into batches of like length, the longest first.

    A batch of n texts padded to its longest costs n × longest tokens; that stays within ``budget`` (a single longer
    text gets a batch of its own). The cut depends on lengths and ids alone, never on the order of the texts.

    Args:
        lengths: Tokens of each text, shape (N,).
        ids: Text ids, shape (N,); they break ties.
        budget: Padded tokens allowed in a batch.
        enough: Padded tokens from which on a batch also ends where texts are a fifth shorter than its longest; None: it
            does not.

    Returns:
        Index arrays into ``lengths``; together a permutation of 0 … N − 1.
    """
    order = np.lexsort((ids, -np.asarray(lengths, dtype=np.int64)))
    batches, start = [], 0
    while start < len(order):
        longest = max(1, int(lengths[order[start]]))
        count = max(1, budget // longest)
        if enough is not None:
            alike = int((lengths[order[start : start + count]] >= LEAST_FILLED * longest).sum())
            count = min(count, max(alike, -(-enough // longest)))
        batches.append(order[start : start + count])
        start += count
    return batches
