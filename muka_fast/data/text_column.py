"""Texts in a file: a sequence of strings of which none stays in memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np

from muka_fast.runtime.mapped import map_file, mapped_chunks, unnamed_file

CHUNK = 1024
"""Texts that are read one after the other between two releases of the file's pages; they may be in any order."""


class TextColumn(Sequence[str]):
    """N texts in a mapped file of UTF-8; a text is decoded each time that it is read.

    Args:
        content: The file, uint8.
        starts: First byte of each text, (N,).
        ends: Last byte of each text plus one, (N,).
    """

    def __init__(self, content: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
        self._content, self._starts, self._ends = content, starts, ends

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> TextColumn: ...

    def __getitem__(self, index: int | slice) -> str | TextColumn:
        if isinstance(index, slice):
            return TextColumn(self._content, self._starts[index], self._ends[index])
        return self._content[self._starts[index] : self._ends[index]].tobytes().decode("utf-8", "surrogatepass")

    def __iter__(self) -> Iterator[str]:
        for rows in mapped_chunks(len(self), CHUNK):
            for index in range(rows.start, min(rows.stop, len(self))):
                yield self[index]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(own == one for own, one in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({len(self)} texts)"

    def take(self, rows: np.ndarray) -> TextColumn:
        """Return the texts at ``rows``; the file is shared."""
        return TextColumn(self._content, self._starts[rows], self._ends[rows])


class TextWriter:
    """Writes texts to a file without a name.

    Args:
        folder: Where the file is; see :func:`~muka_fast.runtime.mapped.unnamed_file`.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = unnamed_file(folder)
        self._offsets = array("q", [0])

    def append(self, text: str) -> None:
        """Write one text."""
        content = text.encode("utf-8", "surrogatepass")
        self._file.write(content)
        self._offsets.append(self._offsets[-1] + len(content))

    def finish(self) -> TextColumn:
        """Return the texts that were written; nothing can be appended any more."""
        offsets = np.frombuffer(self._offsets, dtype=np.int64)
        with self._file as file:
            content = map_file(file, np.uint8, (self._offsets[-1],))
        return TextColumn(content, offsets[:-1], offsets[1:])


def take_texts(texts: Sequence[str], rows: np.ndarray) -> Sequence[str]:
    """Return the texts at ``rows``: of a file a view, else a tuple."""
    return texts.take(rows) if isinstance(texts, TextColumn) else tuple(texts[row] for row in rows)


def join_texts(first: Sequence[str], second: Sequence[str], folder: Path | None = None) -> Sequence[str]:
    """Return the texts of both; they are copied to a new file if the first are in a file."""
    if not isinstance(first, TextColumn):
        return (*first, *second)
    writer = TextWriter(folder)
    for texts in (first, second):
        for text in texts:
            writer.append(text)
    return writer.finish()
