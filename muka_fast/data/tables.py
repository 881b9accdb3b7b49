"""Tables of texts: named columns, whose rows are read on demand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, Union

if TYPE_CHECKING:
    import pyarrow as pa

Rows: TypeAlias = Union["pa.RecordBatch", list[dict[str, Any]]]
"""Whole rows as they are in their source: of Parquet a record batch, else one dictionary per row."""

Values = tuple[str, list[Any]]
"""Location of a row, and its values in the order of the requested columns."""


class Record(NamedTuple):
    """One row of a source that is no Parquet file.

    Attributes:
        where: Location of the row (``file:line``).
        values: Its values by column name, those of nested objects under dotted names.
        row: The row as it is in the source.
    """

    where: str
    values: dict[str, Any]
    row: dict[str, Any]


@dataclass(frozen=True)
class TextTable:
    """One table of texts.

    Attributes:
        source: File or data set, for messages.
        columns: Column names.
        strings: Names of the columns with text.
        read: Reads the rows of the given columns.
        chunks: Reads whole rows, so many at a time, and beside them the values of the given columns.
        note: How the file is read, if that is not as its name suggests.
    """

    source: str
    columns: list[str]
    strings: list[str]
    read: Callable[[list[str]], Iterator[Values]]
    chunks: Callable[[list[str], int], Iterator[tuple[Rows, list[Values]]]]
    note: str = ""
