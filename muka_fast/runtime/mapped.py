"""Arrays in files without a name: they may be larger than memory, and are gone with the process.

Pages of a mapped file that were read or written count as resident memory. :func:`release_pages` returns them to the
system; the content stays in the file. Needs NumPy alone.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from muka_fast.runtime.numerics import ROWS_AT_ONCE, row_chunks

_MAPS: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
SCATTERED = 1024
"""Rows in any order between two releases: the system maps up to 64 KiB around each."""
_ALIGNMENT = 64
"""Bytes: arrays in one file start at multiples of it."""


def unnamed_file(folder: Path | None = None) -> IO[bytes]:
    """Open a file that has no name and is removed when its last handle or mapping is closed.

    Args:
        folder: Where its content is, or the nearest existing folder above it; the system's folder for temporary files
            if that cannot be written.
    """
    if folder is not None:
        existing = next((path for path in (folder, *folder.absolute().parents) if path.is_dir()), None)
        with contextlib.suppress(OSError):
            return tempfile.TemporaryFile(dir=existing, buffering=1 << 18)
    return tempfile.TemporaryFile(buffering=1 << 18)


def map_file(file: IO[bytes], dtype: np.dtype | type, shape: Sequence[int], *, writable: bool = True) -> np.ndarray:
    """Return the content of a file as an array; changes of the array are changes of the file.

    Args:
        file: The file, at least as long as the array. It may be closed afterwards.
        dtype: Of the array.
        shape: Of the array.
        writable: Whether the file is open for writing.
    """
    file.flush()
    count = int(np.prod(shape, dtype=np.int64))
    if not count:
        return np.empty(shape, dtype=dtype)
    access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
    memory = mmap.mmap(file.fileno(), count * np.dtype(dtype).itemsize, access=access)
    _MAPS.add(memory)
    return np.frombuffer(memory, dtype=dtype, count=count).reshape(shape)


def open_array(path: Path) -> np.ndarray:
    """Map an ``.npy`` file for reading.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged.
        EOFError: If it is empty.
    """
    values = np.load(path, mmap_mode="r")
    _MAPS.add(values._mmap)
    return values.view(np.ndarray)


def mapped_arrays(
    shapes: Sequence[tuple[Sequence[int], np.dtype | type]], folder: Path | None = None
) -> list[np.ndarray]:
    """Make arrays of zeros in one file; their space on disk is reserved.

    Args:
        shapes: Shape and type of each array.
        folder: As in :func:`unnamed_file`.

    Raises:
        OSError: If the disk is too small.
    """
    starts, size = [], 0
    for shape, dtype in shapes:
        starts.append(size)
        size += int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        size += -size % _ALIGNMENT
    with unnamed_file(folder) as file:
        _reserve(file.fileno(), size)
        content = map_file(file, np.uint8, (size,))
    arrays = []
    for (shape, dtype), start in zip(shapes, starts, strict=True):
        length = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        arrays.append(content[start : start + length].view(dtype).reshape(shape))
    return arrays


def _reserve(handle: int, size: int) -> None:
    """Give a file its size; a write to a mapped page that the disk has no space for would kill the process."""
    if size and hasattr(os, "posix_fallocate"):
        os.posix_fallocate(handle, 0, size)
    else:
        os.truncate(handle, size)


def release_pages() -> None:
    """Return the pages of all mapped files to the system; does nothing where the system has no such call."""
    if hasattr(mmap, "MADV_DONTNEED"):
        for memory in list(_MAPS):
            memory.madvise(mmap.MADV_DONTNEED)


def mapped_chunks(count: int, size: int = ROWS_AT_ONCE) -> Iterator[slice]:
    """Split ``count`` rows as :func:`~muka_fast.runtime.numerics.row_chunks`; release pages after each chunk."""
    for rows in row_chunks(count, size):
        yield rows
        release_pages()


def take_rows(values: np.ndarray, rows: slice | np.ndarray) -> np.ndarray:
    """Return ``values[rows]``; pages are released where many rows of a mapped array are read in any order."""
    if isinstance(rows, slice) or len(rows) <= SCATTERED:
        return values[rows]
    found = np.empty((len(rows), *values.shape[1:]), dtype=values.dtype)
    for part in mapped_chunks(len(rows), SCATTERED):
        found[part] = values[rows[part]]
    return found


def put_rows(values: np.ndarray, rows: np.ndarray, new: np.ndarray) -> None:
    """Set ``values[rows]`` to new rows; pages are released where many rows of a mapped array are written."""
    for part in mapped_chunks(len(rows), SCATTERED):
        values[rows[part]] = new[part]
