"""Rows of an array that are computed where they are read; needs NumPy alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

Rows = slice | np.ndarray


@dataclass(frozen=True)
class ComputedRows:
    """An (N, D) array of which no more is in memory than the rows that are read.

    It is indexed by a row number, a slice or an array of row numbers, and does not convert to an array as a whole.

    Attributes:
        shape: N and D.
        compute: Returns the rows of a slice or of row numbers, (M, D); a row does not depend on the others.
    """

    shape: tuple[int, int]
    compute: Callable[[Rows], np.ndarray]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: int | Rows) -> np.ndarray:
        if isinstance(rows, slice | np.ndarray):
            return self.compute(rows)
        if not -len(self) <= rows < len(self):
            raise IndexError(rows)
        return self.compute(np.array([rows]))[0]

    def __array__(self, *args: object, **kwargs: object) -> NoReturn:
        raise TypeError("the rows are computed where they are read: index them, with [:] for all")


RowArray = np.ndarray | ComputedRows
"""An (N, D) array, in memory or computed where it is read."""
