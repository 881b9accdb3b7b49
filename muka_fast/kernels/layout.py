"""Layout of packed rows and of their dropout decisions.

The rows of all texts are concatenated without padding, R0 in all. K passes form a (K · R0, D) matrix, pass-major: row r
belongs to pass ``first_pass + r // R0`` and to packed row ``r % R0``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from muka_fast.kernels.philox import keep_scale, threshold

SPAN_LIMITS = (16, 32)
"""Lengths that separate spans: up to each limit, one small block of queries and keys holds a whole text."""


@dataclass(frozen=True)
class DropoutSpec:
    """A live dropout site.

    Attributes:
        site_id: Number of the site in its model, below 2³².
        p: Dropout probability, below 1 − 2⁻¹⁷.
    """

    site_id: int
    p: float

    @property
    def threshold(self) -> int:
        """Lane value below which an element is dropped, 0 to 65535."""
        return threshold(self.p)

    @property
    def scale(self) -> float:
        """Factor of kept elements."""
        return keep_scale(self.p)


def drop_arguments(drop: DropoutSpec | None) -> tuple[int, int, float]:
    """Return site id, threshold and scale as kernels take them: 0, 0 and 1.0 without dropout."""
    return (drop.site_id, drop.threshold, drop.scale) if drop else (0, 0, 1.0)


@dataclass(frozen=True)
class Span:
    """Consecutive texts of similar length: ``texts`` of them starting at ``first``, the longest of ``longest`` rows."""

    first: int
    texts: int
    longest: int


def spans(lengths: Sequence[int]) -> tuple[Span, ...]:
    """Split texts where their lengths cross one of the limits; unsorted texts, which would give many spans, are one."""
    found, first = [], 0
    for _, group in groupby(lengths, key=lambda length: sum(length > limit for limit in SPAN_LIMITS)):
        members = list(group)
        found.append(Span(first, len(members), max(members)))
        first += len(members)
    return tuple(found) if len(found) <= 1 + len(SPAN_LIMITS) else (Span(0, len(lengths), max(lengths)),)


@dataclass(frozen=True)
class PackedLayout:
    """The packed rows of B texts and the keys of their masks; 64-bit words are stored as int64 bit patterns.

    Attributes:
        key: Mask key, (1,), int64.
        text_ids: The 64-bit id of each text, (B,), int64.
        starts: First row of each text, followed by R0, (B + 1,), int32.
        row_text: Text of each row, (R0,), int32.
        row_position: Position of each row inside its text, (R0,), int32.
        spans: The texts, grouped by similar length.
    """

    key: Tensor
    text_ids: Tensor
    starts: Tensor
    row_text: Tensor
    row_position: Tensor
    spans: tuple[Span, ...]

    @classmethod
    def build(cls, key: int, text_ids: np.ndarray, lengths: Sequence[int], device: torch.device | str) -> PackedLayout:
        """Lay out texts of the given lengths.

        Args:
            key: 64-bit word derived from the run's seed and the teacher.
            text_ids: (B,), uint64.
            lengths: Tokens of each text, at least 1, (B,).
            device: Device of the tensors.

        Raises:
            ValueError: If ids and lengths do not match, or a text is empty.
        """
        counts = np.asarray(lengths, dtype=np.int32)
        ids = np.ascontiguousarray(text_ids, dtype=np.uint64)
        if ids.shape != counts.shape or counts.ndim != 1 or not counts.size or counts.min() < 1:
            raise ValueError(f"need one length of at least 1 per text: ids {ids.shape}, lengths {list(lengths)}")
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
        row_text = np.repeat(np.arange(len(counts), dtype=np.int32), counts)

        def tensor(array: np.ndarray) -> Tensor:
            return torch.from_numpy(array).to(device, copy=True)

        return cls(
            key=tensor(np.array([key], dtype=np.uint64).view(np.int64)),
            text_ids=tensor(ids.view(np.int64)),
            starts=tensor(starts),
            row_text=tensor(row_text),
            row_position=tensor(np.arange(starts[-1], dtype=np.int32) - starts[row_text]),
            spans=spans(counts.tolist()),
        )

    @property
    def texts(self) -> int:
        """Number of texts, B."""
        return len(self.text_ids)

    @property
    def longest(self) -> int:
        """Rows of the longest text."""
        return max(span.longest for span in self.spans)

    @property
    def rows(self) -> int:
        """Number of packed rows, R0."""
        return len(self.row_text)

    @cached_property
    def cls_rows(self) -> PackedLayout:
        """The layout of the texts' [CLS] rows only, one row per text."""
        one = Span(0, self.texts, 1)
        order = torch.arange(self.texts + 1, dtype=torch.int32, device=self.starts.device)
        return PackedLayout(self.key, self.text_ids, order, order[:-1], torch.zeros_like(order[:-1]), (one,))
