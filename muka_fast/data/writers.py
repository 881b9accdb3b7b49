"""Rows written in the format of a file's suffix, with columns added; the file appears when it is complete."""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from muka_fast.data.chunks import Contents, RowChunk
from muka_fast.errors import CorpusError, OutputError, RecipeError
from muka_fast.runtime.files import sync_folder, temporary_sibling

if TYPE_CHECKING:
    import pyarrow as pa

Columns = Mapping[str, np.ndarray]
"""Columns to add: float64, bool, or strings and None as objects; each (N,)."""
Write = Callable[[RowChunk, Columns], None]
"""Writes the rows of a chunk, and the columns added to them."""
ROW_GROUP = 32768
"""Rows of a row group of Parquet, about."""
TABULAR = {".csv": ",", ".tsv": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
SUFFIXES = (*TABULAR, *JSON_LINES, ".parquet")


def writer_suffix(path: Path) -> str:
    """Return the suffix that decides the format of a file.

    Raises:
        OutputError: If no format has this suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise OutputError(
            f"cannot write files of type {path.suffix!r}", where=str(path), hint=f"use one of {', '.join(SUFFIXES)}"
        )
    return suffix


def require_new(added: Iterable[str], columns: Iterable[str], where: str) -> None:
    """Refuse to add columns that are there already.

    Raises:
        RecipeError: If one is.
    """
    clash = sorted(set(added) & set(columns))
    if clash:
        raise RecipeError(
            f"the input has {', '.join(map(repr, clash))} already",
            where=where,
            hint="let the names of the added columns begin with something else: --prefix predicted_",
        )


@contextmanager
def open_writer(path: Path, contents: Contents, added: Columns) -> Iterator[Write]:
    """Open a file for rows; it is written beside its place, and gets its name when the block ends without an error.

    Args:
        path: File to write; a file of that name is replaced.
        contents: Columns of the rows and, for Parquet, their types.
        added: The columns that are added to each chunk, without rows.

    Yields:
        A function that writes a chunk.

    Raises:
        OutputError: If the suffix is of no known format.
        RecipeError: If the rows have a column of an added name.
    """
    suffix, temporary = writer_suffix(path), temporary_sibling(path)
    require_new(added, contents.columns, "the columns of the input")
    try:
        if suffix == ".parquet":
            with temporary.open("wb") as file, _parquet_writer(file, contents, added) as write:
                yield write
        else:
            # A lone surrogate of a JSON string stays the escape that it was.
            with temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text:
                if suffix in JSON_LINES:
                    yield json_lines_writer(text)
                else:
                    yield _delimited_writer(text, TABULAR[suffix], contents, added)
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def dump_json(value: Any) -> str:
    """Return JSON for a UTF-8 file."""
    return json.dumps(value, ensure_ascii=False)


def json_lines_writer(stream: IO[str], dump: Callable[[Any], str] = dump_json) -> Write:
    """Return a function that writes chunks to a text stream as JSON lines.

    Args:
        stream: The stream.
        dump: Returns the JSON of a row.
    """

    def write(chunk: RowChunk, columns: Columns) -> None:
        for where, row, values in zip(chunk.where, chunk.records(), _rows(columns, len(chunk)), strict=True):
            require_new(columns, row, where)
            stream.write(dump(_as_json(row | dict(zip(columns, values, strict=True)))) + "\n")

    return write


def _delimited_writer(stream: IO[str], delimiter: str, contents: Contents, added: Columns) -> Write:
    # The csv module quotes only the line breaks that are in its own: a text may hold a carriage return alone.
    table = csv.writer(stream, delimiter=delimiter, lineterminator="\r\n")
    table.writerow([*contents.columns, *added])

    def write(chunk: RowChunk, columns: Columns) -> None:
        for where, row, values in zip(chunk.where, chunk.records(), _rows(columns, len(chunk)), strict=True):
            _require_known(row, contents.columns, where)
            table.writerow([_cell(value) for value in (*(row.get(name) for name in contents.columns), *values)])

    return write


def _rows(columns: Columns, count: int) -> Iterator[tuple[Any, ...]]:
    lists = [column.tolist() for column in columns.values()]
    return zip(*lists, strict=True) if lists else iter([()] * count)


def _as_json(value: Any) -> Any:
    """Return a value in the types of JSON: null for NaN and infinities, text for what is no number, list or object."""
    if isinstance(value, dict):
        return {name: _as_json(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_as_json(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float) else _plain(value)


def _plain(value: Any) -> str:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | dict | list | tuple):
        return dump_json(_as_json(value))
    return _plain(value)


def _require_known(row: dict[str, Any], columns: list[str], where: str) -> None:
    if not row.keys() <= set(columns):
        name = next(name for name in row if name not in columns)
        raise CorpusError(
            f"column {name!r} is not in the rows before", where=where, hint="write *.jsonl, or read from a file"
        )


@dataclass(frozen=True)
class _Schema:
    """Arrow types of the rows, and of all columns together."""

    rows: pa.Schema
    all: pa.Schema


def _schema(contents: Contents, added: Columns) -> _Schema:
    import pyarrow as pa

    if contents.schema is None:
        raise TypeError("Parquet needs the types of the columns")
    metadata = {key: value for key, value in (contents.schema.metadata or {}).items() if key != b"huggingface"}
    rows = contents.schema.with_metadata(metadata or None)  # what the library datasets keeps there lacks new columns
    types = {"f": pa.float64(), "b": pa.bool_(), "O": pa.string()}
    joined = rows
    for name, column in added.items():
        joined = joined.append(pa.field(name, types[column.dtype.kind]))
    return _Schema(rows, joined)


@contextmanager
def _parquet_writer(file: IO[bytes], contents: Contents, added: Columns) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(contents, added)
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(file, schema.all) as writer:

        def flush() -> None:
            writer.write_table(pa.Table.from_batches(waiting, schema.all))
            waiting.clear()

        def write(chunk: RowChunk, columns: Columns) -> None:
            own = _conform(chunk, schema.rows)
            new = [pa.array(column, schema.all.field(name).type) for name, column in columns.items()]
            waiting.append(pa.RecordBatch.from_arrays([*own, *new], schema=schema.all))
            if sum(batch.num_rows for batch in waiting) >= ROW_GROUP:
                flush()

        yield write
        if waiting:
            flush()


def _conform(chunk: RowChunk, schema: pa.Schema) -> list[pa.Array]:
    """Return the columns of a chunk in the order and the types of a schema; null where the chunk has none."""
    import pyarrow as pa

    rows, arrays = chunk.rows, []
    if isinstance(rows, list):
        for where, row in zip(chunk.where, rows, strict=True):
            _require_known(row, schema.names, where)
    for field in schema:
        try:
            if isinstance(rows, list):
                arrays.append(pa.array([row.get(field.name) for row in rows], field.type))
            elif field.name in rows.schema.names:
                arrays.append(rows.column(field.name).cast(field.type))
            else:
                arrays.append(pa.nulls(rows.num_rows, field.type))
        except (pa.ArrowException, OverflowError, UnicodeError) as error:
            raise CorpusError(
                f"column {field.name!r} holds a value that is not {field.type}, as in the rows before: {error}",
                where=f"the rows from {chunk.where[0]}",
                hint="write *.jsonl or *.csv instead",
            ) from None
    return arrays
