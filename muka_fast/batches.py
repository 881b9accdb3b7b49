"""Length-sorted batches under a token budget; needs numpy alone, so that deployment has it too."""

from __future__ import annotations

import numpy as np


def token_batches(lengths: np.ndarray, ids: np.ndarray, budget: int) -> list[np.ndarray]:
    """Cut texts into batches of like length, the longest first.

    A batch of n texts padded to its longest costs n × longest tokens; that stays within ``budget`` (a single longer
    text gets a batch of its own). The cut depends on lengths and ids alone, never on the order of the texts.

    Args:
        lengths: Tokens of each text, shape (N,).
        ids: Text ids, shape (N,); they break ties.
        budget: Padded tokens allowed in a batch.

    Returns:
        Index arrays into ``lengths``; together a permutation of 0 … N − 1.
    """
    order = np.lexsort((ids, -np.asarray(lengths, dtype=np.int64)))
    batches, start = [], 0
    while start < len(order):
        count = max(1, budget // max(1, int(lengths[order[start]])))
        batches.append(order[start : start + count])
        start += count
    return batches
