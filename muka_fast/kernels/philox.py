"""Dropout decisions as a pure function of what they are for: counter-based Philox4x64-10 (Salmon et al., SC 2011).

Key: one 64-bit word that names run and teacher. Counter: element block + 1; text id; pass number · 2³² + dropout site;
0. Each counter gives four 64-bit words, read as sixteen 16-bit lanes, least significant first; a lane below
round(p · 65536) drops its element, what is kept is divided by the quantised keep probability.

Elements are counted inside the text, in rows that start on a block: (position, feature) for hidden states, (query,
head, key) for attention probabilities. Query before head, so that the first position's decisions stand first and can
be had alone. Numpy's compiled generator and Triton's ``philox`` on 64-bit words give equal bits.
"""

from __future__ import annotations

import numpy as np

LANES = 16
"""Decisions one counter gives; rows of elements are padded to a multiple of it."""


def threshold(p: float) -> int:
    """Return the lane value below which an element is dropped: p quantised to 1/65536."""
    return round(p * 65536)


def keep_scale(p: float) -> float:
    """Return what kept elements are multiplied by: one over the quantised keep probability."""
    return 65536 / (65536 - threshold(p))


def row_blocks(width: int) -> int:
    """Return how many counters a row of ``width`` elements takes."""
    return -(-width // LANES)


class PhiloxLanes:
    """Draws lanes for one key; not safe to share between threads.

    Args:
        key: 64-bit word that names run and teacher.
    """

    def __init__(self, key: int) -> None:
        # numpy counts up before it draws its first block, hence "element block + 1" above.
        self._generator = np.random.Philox(key=np.array([key, 0], dtype=np.uint64), counter=0)
        self._state = self._generator.state
        self._counter = self._state["state"]["counter"]

    def draw(self, text_id: int, number: int, site: int, blocks: int) -> np.ndarray:
        """Return the first ``blocks`` · 16 lanes of a text, pass and site, uint16."""
        counter = self._counter
        counter[0], counter[1], counter[2] = 0, text_id, number << 32 | site
        self._generator.state = self._state
        return self._generator.random_raw(blocks * 4).view(np.uint16)
