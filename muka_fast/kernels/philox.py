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

_PIECE = 16_384
"""Decisions made at once: 32 KiB of random words, which stay in the nearest cache and in memory that is used again."""


def threshold(p: float) -> int:
    """Return the lane value below which an element is dropped: p quantised to 1/65536."""
    return min(round(p * 65536), 65535)


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

    def aim(self, number: int, site: int) -> None:
        """Choose the pass and the site that :meth:`keep` decides for."""
        self._counter[2] = number << 32 | site

    def keep(self, text_id: int, limit: np.uint16, out: np.ndarray) -> None:
        """Decide the first elements of a text: write whether each lane is at least ``limit`` to ``out``, bool.

        Args:
            text_id: 64-bit id.
            limit: The site's threshold.
            out: Its length is a multiple of 16.
        """
        self._counter[1] = text_id
        self._generator.state = self._state
        for start in range(0, len(out), _PIECE):
            part = out[start : start + _PIECE]
            lanes = self._generator.random_raw(len(part) // 4).view(np.uint16)
            np.greater_equal(lanes, limit, out=part)
