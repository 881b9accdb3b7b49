"""Length-sorted batches under a token budget; needs NumPy alone, so that it runs without torch."""

from __future__ import annotations

import numpy as np

TOKEN_BUDGET = {"cpu": 4096, "cuda": 65536}
"""Tokens of a batch, all passes together, by device type; a GPU needs more rows to be busy between launches.
On a CPU, 2,048 need less memory and more time (benchmarks/NOTES.md)."""
MIN_RELATIVE_LENGTH = 0.8
"""Texts shorter than this share of the longest text of a batch are put into the next batch."""


def token_batches(lengths: np.ndarray, ids: np.ndarray, budget: int, enough: int | None = None) -> list[np.ndarray]:
    """Split texts into batches of similar length, the longest first.

    A batch of n texts padded to its longest one costs n × longest tokens, at most ``budget`` (a single longer text
    gets a batch of its own). The batches depend on lengths and ids alone, never on the order of the texts.

    Args:
        lengths: Tokens of each text, (N,).
        ids: Text ids, (N,); they break ties.
        budget: Padded tokens of a batch at most.
        enough: Padded tokens from which a batch also ends before texts a fifth shorter than its longest one; None: it
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
            alike = int((lengths[order[start : start + count]] >= MIN_RELATIVE_LENGTH * longest).sum())
            count = min(count, max(alike, -(-enough // longest)))
        batches.append(order[start : start + count])
        start += count
    return batches
