"""Readers of files, folders and hub data sets: tables with named columns, whose values are read on demand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from muka_fast.data.delimited import describe, find_dialect, read_rows
from muka_fast.data.sources import SourceFile, find_files
from muka_fast.data.text_files import open_text
from muka_fast.errors import CorpusError, MachineError, first_line

PEEK_ROWS = 100
"""Rows whose keys are the columns of a file that has no header."""

Record = tuple[str, dict[str, Any]]
"""Location of a row (``file:line``), and its values by column name."""

Values = tuple[str, list[Any]]
"""Location of a row, and its values in the order of the requested columns."""


@dataclass(frozen=True)
class TextTable:
    """One table of texts.

    Attributes:
        source: File or data set, for messages.
        columns: Column names.
        strings: Names of the columns with text.
        read: Reads the rows of the given columns.
        note: How the file is read, if that is not as its name suggests.
    """

    source: str
    columns: list[str]
    strings: list[str]
    read: Callable[[list[str]], Iterator[Values]]
    note: str = ""


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
                yield f"{path}:{line}", dict(zip(header, cells, strict=True))
            else:
                _require_distinct(cells, f"{path}:{line}")
                header.extend(cells)

    return replace(_from_rows(str(path), records()), note=describe(dialect, delimiter))


def _json_row(value: Any, where: str) -> Record:
    if isinstance(value, str):
        return where, {"text": value}
    if not isinstance(value, dict):
        raise CorpusError("a row is neither a string nor an object", where=where, hint='write {"text": "…"}')
    try:
        return where, _flat(value)
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
        for number, line in enumerate(lines, start=1):
            if line.strip():
                where = f"{path}:{number}"
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
        for number, line in enumerate(lines, start=1):
            yield f"{path}:{number}", {"text": line.rstrip("\r\n")}


def _from_rows(source: str, rows: Iterator[Record]) -> TextTable:
    """Return a table of rows that may lack columns: its columns are those of the first rows."""
    first = list(islice(rows, PEEK_ROWS))
    if not first:
        raise _no_rows(source)
    names = list(dict.fromkeys(name for _, row in first for name in row))

    def read(columns: list[str]) -> Iterator[Values]:
        for where, row in chain(first, rows):
            yield where, [row.get(column) for column in columns]

    known = {name: [row[name] for _, row in first if row.get(name) is not None] for name in names}
    return TextTable(source, names, [name for name in names if known[name] and isinstance(known[name][0], str)], read)


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

    def read(columns: list[str]) -> Iterator[Values]:
        number = 0
        try:
            for batch in file.iter_batches(columns=columns):
                roots = [batch.column(paths[name][0]).to_pylist() for name in columns]
                for values in zip(*roots, strict=True):
                    row = [_at(value, paths[name][1:]) for value, name in zip(values, columns, strict=True)]
                    yield f"{path}: row {number}", row
                    number += 1
        except (pa.ArrowException, OSError, ValueError, OverflowError) as error:  # values that fit no Python type too
            what = f"damaged Parquet file: {first_line(error)}"
            raise CorpusError(what, where=f"{path}: row {number}", hint="write it again") from None

    strings = [name for name, (_, kind) in zip(names, leaves, strict=True) if _is_text(kind)]
    return TextTable(str(path), names, strings, read)


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

    return replace(table, columns=[*table.columns, *added], read=read)


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


def _hub(name: str, config: str | None, split: str) -> TextTable:
    import datasets

    source = f"hub:{name}"
    if not name.strip():
        raise CorpusError("the data set has no name", where=source, hint="write hub:owner/name")
    try:
        table = datasets.load_dataset(name, config, split=split)
    except ConnectionError as error:
        raise MachineError(
            f"cannot reach the hub: {error}", where=source, hint="give local files, or go online once"
        ) from None
    except (ValueError, OSError, datasets.exceptions.DatasetsError) as error:
        raise CorpusError(
            f"cannot load the data set: {error}", where=source, hint="check name, config and split"
        ) from None

    def read(columns: list[str]) -> Iterator[Values]:
        classes = {column: getattr(table.features[column], "names", None) for column in columns}

        def decode(column: str, value: Any) -> Any:
            names = classes[column]
            if names is None:
                return value
            return names[value] if value is not None and value >= 0 else None  # −1 means no label

        for number, row in enumerate(table.select_columns(columns)):
            yield f"{source}: row {number}", [decode(column, row[column]) for column in columns]

    strings = [
        name for name, kind in table.features.items() if getattr(kind, "dtype", "") in ("string", "large_string")
    ]
    return TextTable(source, table.column_names, strings, read)


def open_tables(sources: Sequence[str], *, config: str | None = None, split: str = "train") -> Iterator[TextTable]:
    """Open every file, folder or ``hub:owner/name`` data set of ``sources``.

    Raises:
        CorpusError: On a missing, empty or malformed file; the message names file and line.
        MachineError: When a hub data set is neither cached nor reachable.
    """
    for source in sources:
        if source.startswith("hub:"):
            yield _hub(source.removeprefix("hub:"), config, split)
        else:
            yield from _open_source(source)
