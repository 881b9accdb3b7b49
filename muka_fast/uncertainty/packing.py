"""Sequence packing: the texts of a batch concatenated without padding, B texts of R tokens in all as R rows."""

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
    """Consecutive texts of equal length: the texts ``texts`` and the rows ``rows`` of the batch."""

    texts: slice
    rows: slice
    length: int

    @property
    def count(self) -> int:
        """Number of texts."""
        return self.texts.stop - self.texts.start


@dataclass(frozen=True)
class PackedBatch:
    """B texts in R rows, texts of equal length next to each other.

    Attributes:
        ids: 64-bit text ids, (B,), uint64.
        lengths: Tokens of each text, B values.
        inputs: The tokenizer's outputs, each (R,), int64.
    """

    ids: np.ndarray
    lengths: tuple[int, ...]
    inputs: Mapping[str, Tensor]

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def rows(self) -> int:
        """Number of tokens, R."""
        return sum(self.lengths)

    @property
    def device(self) -> torch.device:
        """Device of the inputs."""
        return self.inputs["input_ids"].device

    @cached_property
    def segments(self) -> tuple[LengthSegment, ...]:
        """The batch split into segments of texts of equal length."""
        segments, text, row = [], 0, 0
        for length, group in groupby(self.lengths):
            count = len(list(group))
            segments.append(LengthSegment(slice(text, text + count), slice(row, row + count * length), length))
            text, row = text + count, row + count * length
        return tuple(segments)

    @cached_property
    def _layouts(self) -> dict[int, PackedLayout]:
        return {}

    def layout(self, key: int) -> PackedLayout:
        """Return the batch in the layout of the kernels, with the key of its masks."""
        if key not in self._layouts:
            self._layouts[key] = PackedLayout.build(key, self.ids, self.lengths, self.device)
        return self._layouts[key]

    @cached_property
    def cls_rows(self) -> Tensor:
        """Row of each text's [CLS] token, its first one, (B,)."""
        return torch.from_numpy(np.cumsum([0, *self.lengths[:-1]])).to(self.device)

    @cached_property
    def positions(self) -> Tensor:
        """Position of each row inside its text, (R,)."""
        return torch.cat([torch.arange(s.length).repeat(s.count) for s in self.segments]).to(self.device)


def pack(encodings: Sequence[Mapping[str, np.ndarray]], ids: np.ndarray, device: torch.device) -> PackedBatch:
    """Pack tokenized texts, which must be sorted by length.

    Args:
        encodings: The tokenizer's outputs of each text, without padding.
        ids: Text ids, (B,).
        device: Device of the packed inputs.
    """
    names = [name for name in encodings[0] if name != "attention_mask"]
    inputs = {
        name: torch.from_numpy(np.concatenate([encoding[name] for encoding in encodings]).astype(np.int64)).to(device)
        for name in names
    }
    return PackedBatch(
        np.asarray(ids, dtype=np.uint64), tuple(len(encoding["input_ids"]) for encoding in encodings), inputs
    )
