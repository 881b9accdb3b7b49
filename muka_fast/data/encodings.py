"""Token ids of many texts in few arrays, in memory or in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, overload

import numpy as np

from muka_fast.runtime.mapped import map_file, unnamed_file

TokenizedText = dict[str, np.ndarray]
"""One text's tokenizer outputs, such as ``input_ids``, without padding."""


class Encodings(Sequence[TokenizedText]):
    """Tokenizer outputs of N texts, one after the other.

    Args:
        values: Each output of all texts, int32, (tokens,).
        offsets: First token of each text, and the number of all tokens, (N + 1,).
    """

    def __init__(self, values: dict[str, np.ndarray], offsets: np.ndarray) -> None:
        self.values, self.offsets = values, offsets

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> TokenizedText: ...

    @overload
    def __getitem__(self, index: slice) -> list[TokenizedText]: ...

    def __getitem__(self, index: int | slice) -> TokenizedText | list[TokenizedText]:
        if isinstance(index, slice):
            return [self[one] for one in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index = int(index) % len(self)
        start, end = self.offsets[index], self.offsets[index + 1]
        return {name: values[start:end] for name, values in self.values.items()}

    def take(self, indices: np.ndarray) -> Encodings:
        """Return the texts at ``indices``, in memory."""
        rows = [slice(self.offsets[index], self.offsets[index + 1]) for index in indices]
        nothing = np.zeros(0, dtype=np.int32)
        values = {name: np.concatenate([nothing, *(own[row] for row in rows)]) for name, own in self.values.items()}
        return Encodings(values, np.concatenate([[0], np.cumsum(self.lengths[indices])]))

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each text, (N,)."""
        return np.diff(self.offsets)


class EncodingWriter:
    """Collects tokenizer outputs, in memory or in files without a name.

    Args:
        folder: Where the files are; see :func:`~muka_fast.runtime.mapped.unnamed_file`. None: in memory.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._files: dict[str, IO[bytes]] = {}
        self._parts: dict[str, list[np.ndarray]] = {}
        self._lengths: list[np.ndarray] = []

    def append(self, outputs: Mapping[str, Sequence[Sequence[int]]]) -> None:
        """Add the outputs of some texts: for each output, a list of token values a text."""
        self._lengths.append(np.array([len(ids) for ids in outputs["input_ids"]], dtype=np.int64))
        for name, rows in outputs.items():
            values = np.fromiter(chain.from_iterable(rows), dtype=np.int32)
            if self._folder is None:
                self._parts.setdefault(name, []).append(values)
                continue
            if name not in self._files:
                self._files[name] = unnamed_file(self._folder)
            self._files[name].write(values.tobytes())

    def finish(self) -> Encodings:
        """Return what was added."""
        lengths = np.concatenate([np.zeros(1, dtype=np.int64), *self._lengths])
        offsets = np.cumsum(lengths)
        values = {name: np.concatenate(parts) for name, parts in self._parts.items()}
        for name, file in self._files.items():
            with file:
                values[name] = map_file(file, np.int32, (int(offsets[-1]),))
        return Encodings(values, offsets)
