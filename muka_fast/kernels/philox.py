"""Dropout decisions as a pure function of what they are for: counter-based Philox4x64-10 (Salmon et al., SC 2011).

Key: one 64-bit word that names run and teacher. Counter: element block + 1; text id; pass number · 2³² + dropout site;
0. Each counter gives four 64-bit words, read as sixteen 16-bit lanes, least significant first; a lane below
round(p · 65536) drops its element, what is kept is divided by the quantised keep probability.

Elements are counted inside the text, in rows that start on a block: (position, feature) for hidden states, (query,
head, key) for attention probabilities. Query before head, so that the first position's decisions stand first and can
be had alone. Numpy's compiled generator and Triton's ``philox`` on 64-bit words give equal bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

LANES = 16
"""Decisions one counter gives; rows of elements are padded to a multiple of it."""

_PIECE = 4096
"""Words drawn at once: 32 KiB, which stay in the nearest cache and in memory that is used again."""

_SPENT = 4
"""Place in numpy's buffer of four words from which the next draw begins a new counter."""


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
        self._memory = _state_in_memory(self._generator)

    def _aim(self, counter: list[int]) -> None:
        """Make the next draw start behind a counter."""
        if self._memory is not None:
            words, position = self._memory
            words[:] = counter  # type: ignore[assignment]  # ctypes takes plain numbers
            position.value = _SPENT
            return
        self._state["state"]["counter"][:] = counter
        self._generator.state = self._state

    def keep(
        self, number: int, site: int, limit: np.uint16, texts: Sequence[int], blocks: Sequence[int], out: np.ndarray
    ) -> None:
        """Decide the first elements of texts in one pass: write whether each lane is at least ``limit`` to ``out``.

        Args:
            number: The pass.
            site: The dropout site.
            limit: The site's threshold.
            texts: 64-bit ids, B.
            blocks: Counters to draw for each, B.
            out: (16 · sum of ``blocks``,), bool.
        """
        drawn: list[np.ndarray] = []
        held = start = 0

        def write() -> None:
            nonlocal held, start
            if drawn:
                lanes = (drawn[0] if len(drawn) == 1 else np.concatenate(drawn)).view(np.uint16)
                np.greater_equal(lanes, limit, out=out[start : start + len(lanes)])
                start += len(lanes)
                drawn.clear()
                held = 0

        pass_and_site, draw = number << 32 | site, self._generator.random_raw
        for text, count in zip(texts, blocks, strict=True):
            self._aim([0, text, pass_and_site, 0])
            left = 4 * count
            while left:
                taken = min(left, _PIECE - held)
                drawn.append(draw(taken))
                held, left = held + taken, left - taken
                if held == _PIECE:
                    write()
        write()


def _state_in_memory(generator: np.random.Philox) -> tuple[ctypes.Array[ctypes.c_uint64], ctypes.c_int] | None:
    """Return a generator's counter and place in its buffer where they lie in memory, or None if they can't be found.

    Setting them there takes a tenth of the time that setting ``generator.state`` takes. Nothing is read outside the
    generator's own object, and nothing is taken for the counter that does not behave as one: then the state is set.
    """
    first, size = id(generator), type(generator).__basicsize__
    address = generator.ctypes.state_address
    if not first <= address <= first + size - 24:
        return None
    pointer = ctypes.c_uint64.from_address(address).value  # a struct: pointers to counter and key, place in the buffer
    if not first <= pointer <= first + size - 32:
        return None
    words, position = (ctypes.c_uint64 * 4).from_address(pointer), ctypes.c_int.from_address(address + 16)
    before, trial = generator.state, generator.state
    marks = [0x0123456789ABCDEF, 0x1122334455667788, 0xFEDCBA9876543210, 0x8877665544332211]
    trial["state"]["counter"][:] = marks
    generator.state = trial
    found = list(words) == marks and position.value == _SPENT
    expected = generator.random_raw(5).tolist()
    if found and list(words) == [marks[0] + 2, *marks[1:]] and position.value == 1:
        words[:] = marks  # type: ignore[assignment]
        position.value = _SPENT
        found = generator.random_raw(5).tolist() == expected
    else:
        found = False
    generator.state = before
    return (words, position) if found else None
