"""Readers of files, folders and hub data sets: tables with named columns, whose values are read on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muka_fast.data.delimited import describe, find_dialect, read_rows
from muka_fast.data.hub import open_hub
from muka_fast.data.sources import SourceFile, find_files
from muka_fast.data.tables import Record, Rows, TextTable, Values
from muka_fast.data.text_files import open_text
from muka_fast.errors import CorpusError, first_line

if TYPE_CHECKING:
    import pyarrow as pa

PEEK_ROWS = 100
"""Rows whose keys are the columns of a file that has no header."""

BATCH_ROWS = 65536
"""Rows of a Parquet file that are decoded at once."""


class _NoRowsError(CorpusError):
    """A file without rows: an error by itself, left out in a folder."""


def _no_rows(source: str) -> _NoRowsError:
    return _NoRowsError("the file has no rows", where=source, hint="put at least one text into it")


def _require_distinct(names: Sequence[str], where: str) -> None:
    repeated = next((name for index, name in enumerate(names) if name and name in names[:index]), None)
    if repeated is not None:
        raise CorpusError(f"two columns are named {repeated!r}", where=where, hint="rename one of them")


def _delimited(path: Path, delimiter: str) -> TextTable:
    dialect = find_dialect(path, delimiter)
    header: list[str] = []

    def records() -> Iterator[Record]:
        for line, cells in read_rows(path, dialect):
            if header:
                row = dict(zip(header, cells, strict=True))
                yield Record(f"{path}:{line}", row, row)
            else:
                _require_distinct(cells, f"{path}:{line}")
                header.extend(cells)

    return replace(_from_rows(str(path), records()), note=describe(dialect, delimiter))


def _json_row(value: Any, where: str) -> Record:
    if isinstance(value, str):
        return Record(where, {"text": value}, {"text": value})
    if not isinstance(value, dict):
        raise CorpusError("a row is neither a string nor an object", where=where, hint='write {"text": "…"}')
    try:
        return Record(where, _flat(value), value)
    except RecursionError:
        raise CorpusError("a row is nested too deeply", where=where, hint="write the text at the top") from None


def _flat(value: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return an object with the values of nested objects under dotted names: ``{"a": {"b": 1}}`` has ``a.b``."""
    row: dict[str, Any] = {}
    for key, one in value.items():
        row |= _flat(one, f"{prefix}{key}.") if isinstance(one, dict) and one else {f"{prefix}{key}": one}
    return row


def _json_lines(path: Path) -> Iterator[Record]:
    with open_text(path) as lines:
        yield from _parse_json_lines(lines, str(path))


def _parse_json_lines(lines: Iterable[str], source: str) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        if line.strip():
            where = f"{source}:{number}"
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise CorpusError(f"not valid JSON: {error.msg}", where=where, hint="correct the line") from None
            except (RecursionError, ValueError) as error:
                raise _unreadable_json(error, where) from None
            yield _json_row(value, where)


def _unreadable_json(error: Exception, where: str) -> CorpusError:
    """Return the error of JSON that is valid and that Python's parser cannot read."""
    reason = "nested too deeply" if isinstance(error, RecursionError) else "a number has too many digits"
    return CorpusError(f"cannot read the JSON: {reason}", where=where, hint="correct the row")


def _json(path: Path) -> Iterator[Record]:
    with open_text(path) as file:
        content = file.read()
    try:
        tree = json.loads(content) if content.strip() else []
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one object a line, in a file with the other suffix
            yield from _json_lines(path)
            return
        raise CorpusError(
            f"not valid JSON: {error.msg}", where=f"{path}:{error.lineno}", hint="name JSON lines files *.jsonl"
        ) from None
    except (RecursionError, ValueError) as error:
        raise _unreadable_json(error, str(path)) from None
    if not isinstance(tree, list):
        raise CorpusError("the file is not a list", where=str(path), hint='write [{"text": "…"}, …]')
    for index, value in enumerate(tree):
        yield _json_row(value, f"{path}: item {index}")


def _lines(path: Path) -> Iterator[Record]:
    with open_text(path) as lines:
        yield from _parse_lines(lines, str(path))


def _parse_lines(lines: Iterable[str], source: str) -> Iterator[Record]:
    for number, line in enumerate(lines, start=1):
        row = {"text": line.rstrip("\r\n")}
        yield Record(f"{source}:{number}", row, row)


def _from_rows(source: str, rows: Iterator[Record]) -> TextTable:
    """Return a table of rows that may lack columns: its columns are those of the first rows."""
    first = list(islice(rows, PEEK_ROWS))
    if not first:
        raise _no_rows(source)
    names = list(dict.fromkeys(name for record in first for name in record.values))

    def read(columns: list[str]) -> Iterator[Values]:
        for where, values, _ in chain(first, rows):
            yield where, [values.get(column) for column in columns]

    def chunks(columns: list[str], size: int) -> Iterator[tuple[list[dict[str, Any]], list[Values]]]:
        records = chain(first, rows)
        while part := list(islice(records, size)):
            wanted = [(where, [values.get(column) for column in columns]) for where, values, _ in part]
            yield [record.row for record in part], wanted

    known = {name: [values[name] for _, values, _ in first if values.get(name) is not None] for name in names}
    strings = [name for name in names if known[name] and isinstance(known[name][0], str)]
    return TextTable(source, names, strings, read, chunks)


def _is_text(kind: Any) -> bool:
    """Return whether an Arrow type is one of strings, or of categories with strings as names."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _leaves(fields: Any, parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and type of each column; those of a struct one by one."""
    import pyarrow as pa

    for field in fields:
        path = (*parents, field.name)
        if pa.types.is_struct(field.type) and field.type.num_fields:
            yield from _leaves(field.type, path)
        else:
            yield path, field.type


def _at(row: Any, path: Sequence[str]) -> Any:
    for name in path:
        row = None if row is None else row[name]
    return row


def _parquet(path: Path) -> TextTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        schema = file.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise CorpusError(f"not a Parquet file: {first_line(error)}", where=str(path), hint="write it again") from None
    if not file.metadata.num_rows:
        raise _no_rows(str(path))
    # pandas keeps an index without a name as a column of this name.
    leaves = [leaf for leaf in _leaves(schema) if not leaf[0][0].startswith("__index_level_")]
    names = [".".join(leaf) for leaf, _ in leaves]
    _require_distinct(names, str(path))
    paths = {name: leaf for name, (leaf, _) in zip(names, leaves, strict=True)}

    def batches(columns: list[str], size: int, *, whole: bool) -> Iterator[tuple[pa.RecordBatch, list[Values]]]:
        number = 0
        try:
            for batch in file.iter_batches(size, columns=None if whole else columns):
                roots = [batch.column(paths[name][0]).to_pylist() for name in columns]
                rows = list(zip(*roots, strict=True)) if roots else [()] * batch.num_rows
                wanted = []
                for values in rows:
                    row = [_at(value, paths[name][1:]) for value, name in zip(values, columns, strict=True)]
                    wanted.append((f"{path}: row {number}", row))
                    number += 1
                yield batch, wanted
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # values that fit no Python type too
            what = f"damaged Parquet file: {first_line(error)}"
            raise CorpusError(what, where=f"{path}: row {number}", hint="write it again") from None

    def read(columns: list[str]) -> Iterator[Values]:
        for _, wanted in batches(columns, BATCH_ROWS, whole=False):
            yield from wanted

    def chunks(columns: list[str], size: int) -> Iterator[tuple[pa.RecordBatch, list[Values]]]:
        return batches(columns, size, whole=True)

    strings = [name for name, (_, kind) in zip(names, leaves, strict=True) if _is_text(kind)]
    return TextTable(str(path), names, strings, read, chunks)


def _rows_of(records: Callable[[Path], Iterator[Record]]) -> Callable[[Path], TextTable]:
    return lambda path: _from_rows(str(path), records(path))


_READERS: dict[str, Callable[[Path], TextTable]] = {
    ".csv": lambda path: _delimited(path, ","),
    ".tsv": lambda path: _delimited(path, "\t"),
    ".jsonl": _rows_of(_json_lines),
    ".ndjson": _rows_of(_json_lines),
    ".json": _rows_of(_json),
    ".txt": _rows_of(_lines),
    ".parquet": _parquet,
}


def _open_file(file: SourceFile) -> TextTable:
    """Open a file; the columns that the names of its folders hold follow its own."""
    table = _READERS[file.suffix](file.path)
    added = {name: value for name, value in file.partition.items() if name not in table.columns}
    if not added:
        return table

    def read(columns: list[str]) -> Iterator[Values]:
        for where, values in table.read([name for name in columns if name not in added]):
            own = iter(values)
            yield where, [added[name] if name in added else next(own) for name in columns]

    def chunks(columns: list[str], size: int) -> Iterator[tuple[Rows, list[Values]]]:
        for rows, wanted in table.chunks([name for name in columns if name not in added], size):
            joined = [
                (where, [added[name] if name in added else own.pop(0) for name in columns])
                for where, own in ((where, list(values)) for where, values in wanted)
            ]
            if isinstance(rows, list):
                yield [row | added for row in rows], joined
            else:
                for name, value in added.items():
                    rows = rows.append_column(name, _constant(value, rows.num_rows))
                yield rows, joined

    return replace(table, columns=[*table.columns, *added], read=read, chunks=chunks)


def _constant(value: str | None, count: int) -> pa.Array:
    import pyarrow as pa

    return pa.array([value] * count, pa.string())


def _open_source(source: str) -> Iterator[TextTable]:
    """Open the files of a source; of several, those without rows are left out."""
    files, note = find_files(source, tuple(_READERS))
    empty: _NoRowsError | None = None
    found = False
    for file in files:
        try:
            table = _open_file(file)
        except _NoRowsError as error:
            empty = error
            continue
        yield replace(table, note=f"{table.note}{'; ' if table.note and note else ''}{note}")
        found, note = True, ""
    if empty is not None and not found:
        raise empty


def open_stream(lines: Iterable[str], source: str, *, json_lines: bool) -> TextTable:
    """Open lines that are no file: one text a line, or JSON lines.

    Args:
        lines: The lines; they are read once.
        source: Their name, for messages.
        json_lines: Whether each line is JSON.

    Raises:
        CorpusError: If there is no line; while rows are read also if one is not valid JSON.
    """
    parse = _parse_json_lines if json_lines else _parse_lines
    return _from_rows(source, parse(lines, source))


def open_tables(sources: Sequence[str], *, config: str | None = None, split: str = "train") -> Iterator[TextTable]:
    """Open every file, folder or ``hub:owner/name`` data set of ``sources``.

    Raises:
        CorpusError: On a missing, empty or malformed file; the message names file and line.
        MachineError: When a hub data set is neither cached nor reachable.
    """
    for source in sources:
        if source.startswith("hub:"):
            yield open_hub(source.removeprefix("hub:"), config, split)
        else:
            yield from _open_source(source)
