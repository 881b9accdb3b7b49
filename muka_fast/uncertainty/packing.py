"""Texts of a batch one after the other, without padding: B texts of together R tokens are R rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
import torch
from torch import Tensor

from muka_fast.kernels.layout import PackedLayout


@dataclass(frozen=True)
class LengthSegment:
    """Neighbouring texts of equal length: texts ``texts``, rows ``rows`` of the batch."""

    texts: slice
    rows: slice
    length: int

    @property
    def count(self) -> int:
        """Number of texts."""
        return self.texts.stop - self.texts.start


@dataclass(frozen=True)
class PackedBatch:
    """B texts in R rows, texts of equal length side by side.

    Attributes:
        ids: 64-bit ids, (B,), uint64.
        lengths: Tokens of each, B numbers.
        inputs: The tokenizer's outputs, each (R,), int64.
    """

    ids: np.ndarray
    lengths: tuple[int, ...]
    inputs: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def rows(self) -> int:
        """R, the number of tokens."""
        return sum(self.lengths)

    @property
    def device(self) -> torch.device:
        """Where the inputs lie."""
        return self.inputs["input_ids"].device

    @cached_property
    def segments(self) -> tuple[LengthSegment, ...]:
        """The batch cut into runs of texts of equal length."""
        found, text, row = [], 0, 0
        for length, group in groupby(self.lengths):
            count = len(list(group))
            found.append(LengthSegment(slice(text, text + count), slice(row, row + count * length), length))
            text, row = text + count, row + count * length
        return tuple(found)

    @cached_property
    def _layouts(self) -> dict[int, PackedLayout]:
        return {}

    def layout(self, key: int) -> PackedLayout:
        """Return the batch as kernels take it, its masks named by ``key``."""
        if key not in self._layouts:
            self._layouts[key] = PackedLayout.build(key, self.ids, self.lengths, self.device)
        return self._layouts[key]

    @cached_property
    def cls_rows(self) -> Tensor:
        """Row of each text's first token, (B,)."""
        return torch.from_numpy(np.cumsum([0, *self.lengths[:-1]])).to(self.device)

    @cached_property
    def positions(self) -> Tensor:
        """Position of each row in its text, (R,)."""
        return torch.cat([torch.arange(s.length).repeat(s.count) for s in self.segments]).to(self.device)


def pack(rows: Sequence[Mapping[str, np.ndarray]], ids: np.ndarray, device: torch.device) -> PackedBatch:
    """Pack encoded texts; the caller has sorted them by length.

    Args:
        rows: One a text: the tokenizer's outputs without padding.
        ids: Text ids, (B,).
        device: Where to put them.
    """
    names = [name for name in rows[0] if name != "attention_mask"]
    inputs = {
        name: torch.from_numpy(np.concatenate([row[name] for row in rows]).astype(np.int64)).to(device)
        for name in names
    }
    return PackedBatch(np.asarray(ids, dtype=np.uint64), tuple(len(row["input_ids"]) for row in rows), inputs)
