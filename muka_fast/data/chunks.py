"""Whole rows in chunks: the texts of each chunk, and all columns of its rows as they are in their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import choose_columns, text_value
from muka_fast.data.readers import open_tables
from muka_fast.data.tables import Rows, TextTable
from muka_fast.errors import CorpusError

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK_ROWS = 4096
"""Rows that are in memory at once."""


@dataclass(frozen=True)
class RowChunk:
    """N consecutive rows.

    Attributes:
        where: Location of each row.
        texts: Text of each row.
        pairs: The second text of each pair, or None.
        rows: The rows with all of their columns.
    """

    where: list[str]
    texts: list[str]
    pairs: list[str] | None
    rows: Rows

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def columns(self) -> list[str]:
        """Names of the columns, in the order of their first appearance."""
        if isinstance(self.rows, list):
            return list(dict.fromkeys(name for row in self.rows for name in row))
        return list(self.rows.schema.names)

    def records(self) -> list[dict[str, Any]]:
        """Return one dictionary per row."""
        return self.rows if isinstance(self.rows, list) else self.rows.to_pylist()


@dataclass(frozen=True)
class Contents:
    """What is in the tables of a source.

    Attributes:
        rows: Number of rows.
        columns: Names of all columns, in the order of their first appearance.
        schema: Arrow types of the columns; None where they were not asked for.
    """

    rows: int
    columns: list[str]
    schema: pa.Schema | None


def table_chunks(
    table: TextTable, spec: DataSpec, size: int = CHUNK_ROWS, log: Callable[[str], None] = lambda _: None
) -> Iterator[RowChunk]:
    """Read the rows of one table in chunks.

    Args:
        table: The table.
        spec: Names of its columns.
        size: Rows of a chunk, at most.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: On a missing column, or a value that is not text; the message names file and row.
    """
    text, pair, _ = choose_columns(spec, table, with_labels=False, log=log)
    for rows, wanted in table.chunks([text] if pair is None else [text, pair], size):
        yield RowChunk(
            [where for where, _ in wanted],
            [text_value(values[0], text, where) for where, values in wanted],
            None if pair is None else [text_value(values[1], pair, where) for where, values in wanted],
            rows,
        )


def read_chunks(
    spec: DataSpec, size: int = CHUNK_ROWS, log: Callable[[str], None] = lambda _: None
) -> Iterator[RowChunk]:
    """Read the rows of all tables in chunks; arguments and errors as :func:`table_chunks`."""
    for table in open_tables(spec.texts, config=spec.config, split=spec.split):
        if table.note:
            log(f"{table.source}: {table.note}")
        yield from table_chunks(table, spec, size, log)


def scan(spec: DataSpec, *, types: bool, log: Callable[[str], None] = lambda _: None) -> Contents:
    """Read all rows once, so that a row that cannot be used is found before any work is done.

    Args:
        spec: The tables.
        types: Whether to find the Arrow types of the columns.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: As :func:`table_chunks`; with ``types`` also if a column holds values of several types.
    """
    count, columns = 0, dict[str, None]()
    schema: pa.Schema | None = None
    for chunk in read_chunks(spec, log=log):
        count += len(chunk)
        columns.update(dict.fromkeys(chunk.columns))
        if types:
            schema = _join(schema, chunk)
    return Contents(count, list(columns), schema)


def chunk_schema(chunk: RowChunk) -> pa.Schema:
    """Return the Arrow types of a chunk's columns.

    Raises:
        CorpusError: If a column holds values of several types.
    """
    import pyarrow as pa

    if not isinstance(chunk.rows, list):
        return chunk.rows.schema
    fields = []
    for name in chunk.columns:
        try:
            fields.append((name, pa.array([row.get(name) for row in chunk.rows]).type))
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise _several_types(name, chunk.where[0], error) from None
    return pa.schema(fields)


def _join(known: pa.Schema | None, chunk: RowChunk) -> pa.Schema:
    import pyarrow as pa

    schema = chunk_schema(chunk)
    if known is None or schema.equals(known):
        return schema if known is None else known
    try:
        return pa.unify_schemas([known, schema], promote_options="permissive")
    except pa.ArrowException:
        both = [(known.field(name), schema.field(name)) for name in known.names if name in schema.names]
        before, here = next(pair for pair in both if pair[0].type != pair[1].type)
        raise _several_types(here.name, chunk.where[0], f"{before.type} and {here.type}") from None


def _several_types(column: str, where: str, found: object) -> CorpusError:
    return CorpusError(
        f"column {column!r} has no single type, as Parquet needs it: {found}",
        where=f"the rows from {where}",
        hint="write *.jsonl or *.csv instead",
    )
