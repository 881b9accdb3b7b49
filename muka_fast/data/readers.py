"""Readers of files, folders and hub data sets: tables with named columns, whose values are read on demand."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from muka_fast.errors import CorpusError, MachineError

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
    """

    source: str
    columns: list[str]
    strings: list[str]
    read: Callable[[list[str]], Iterator[Values]]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"not UTF-8: byte {error.start} is {error.object[error.start]:#04x}",
            where=str(path),
            hint="convert the file, for example: iconv -f latin1 -t utf-8",
        ) from None
    except OSError as error:
        raise CorpusError(f"cannot read the file: {error.strerror}", where=str(path), hint="check the path") from None


def _require_distinct(names: Sequence[str], where: str) -> None:
    repeated = next((name for index, name in enumerate(names) if name and name in names[:index]), None)
    if repeated is not None:
        raise CorpusError(f"two columns are named {repeated!r}", where=where, hint="rename one of them")


def _delimited(path: Path, delimiter: str) -> Iterator[Record]:
    csv.field_size_limit(2**31 - 1)
    reader = csv.reader(io.StringIO(_text(path), newline=""), delimiter=delimiter, strict=True)
    try:
        header = next(reader, [])
        _require_distinct(header, f"{path}:{reader.line_num}")
        for values in reader:
            if not values:
                continue
            where = f"{path}:{reader.line_num}"
            if len(values) != len(header):
                raise CorpusError(
                    f"ragged row: {len(values)} value(s), but the header has {len(header)}",
                    where=where,
                    hint="quote values that contain the delimiter",
                )
            yield where, dict(zip(header, values, strict=True))
    except csv.Error as error:
        raise CorpusError(
            f"not valid CSV: {error}", where=f"{path}:{reader.line_num}", hint="correct the row"
        ) from None


def _json_row(value: Any, where: str) -> Record:
    if isinstance(value, str):
        return where, {"text": value}
    if not isinstance(value, dict):
        raise CorpusError("a row is neither a string nor an object", where=where, hint='write {"text": "…"}')
    return where, value


def _json_lines(path: Path) -> Iterator[Record]:
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}:{number}"
            try:
                yield _json_row(json.loads(line), where)
            except json.JSONDecodeError as error:
                raise CorpusError(f"not valid JSON: {error.msg}", where=where, hint="correct the line") from None


def _json(path: Path) -> Iterator[Record]:
    content = _text(path)
    try:
        tree = json.loads(content) if content.strip() else []
    except json.JSONDecodeError as error:
        raise CorpusError(
            f"not valid JSON: {error.msg}", where=f"{path}:{error.lineno}", hint="name JSON lines files *.jsonl"
        ) from None
    if not isinstance(tree, list):
        raise CorpusError("the file is not a list", where=str(path), hint='write [{"text": "…"}, …]')
    for index, value in enumerate(tree):
        yield _json_row(value, f"{path}: item {index}")


def _lines(path: Path) -> Iterator[Record]:
    content = _text(path)
    for number, line in enumerate(content.removesuffix("\n").split("\n") if content else [], start=1):
        yield f"{path}:{number}", {"text": line.rstrip("\r")}


def _from_rows(source: str, rows: Iterator[Record]) -> TextTable:
    first = next(rows, None)
    if first is None:
        raise CorpusError("the file has no rows", where=source, hint="put at least one text into it")
    names = list(first[1])

    def read(columns: list[str]) -> Iterator[Values]:
        for where, row in chain([first], rows):
            yield where, [row.get(column) for column in columns]

    return TextTable(source, names, [name for name in names if isinstance(first[1][name], str)], read)


def _parquet(path: Path) -> TextTable:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise CorpusError(f"not a Parquet file: {error}", where=str(path), hint="write it again") from None
    if not file.metadata.num_rows:
        raise CorpusError("the file has no rows", where=str(path), hint="put at least one text into it")

    def read(columns: list[str]) -> Iterator[Values]:
        number = 0
        try:
            for batch in file.iter_batches(columns=columns):
                for values in zip(*(batch.column(name).to_pylist() for name in columns), strict=True):
                    yield f"{path}: row {number}", list(values)
                    number += 1
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise CorpusError(f"damaged Parquet file: {error}", where=str(path), hint="write it again") from None

    schema = file.schema_arrow
    _require_distinct(schema.names, str(path))
    strings = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)]
    return TextTable(str(path), schema.names, strings, read)


_ROW_READERS: dict[str, Callable[[Path], Iterator[Record]]] = {
    ".csv": lambda path: _delimited(path, ","),
    ".tsv": lambda path: _delimited(path, "\t"),
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".txt": _lines,
}
SUFFIXES = (*_ROW_READERS, ".parquet")


def _open_file(path: Path) -> TextTable:
    if path.suffix.lower() == ".parquet":
        return _parquet(path)
    return _from_rows(str(path), _ROW_READERS[path.suffix.lower()](path))


def _files(source: str) -> list[Path]:
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.iterdir() if file.suffix.lower() in SUFFIXES)
        if not files:
            raise CorpusError("the folder has no readable file", where=source, hint=f"put in {', '.join(SUFFIXES)}")
        return files
    if not path.exists():
        raise CorpusError("no such file", where=source, hint="check the path, or write hub:owner/name")
    if path.suffix.lower() not in SUFFIXES:
        raise CorpusError(f"unknown file type {path.suffix!r}", where=source, hint=f"use one of {', '.join(SUFFIXES)}")
    return [path]


def _hub(name: str, config: str | None, split: str) -> TextTable:
    import datasets

    source = f"hub:{name}"
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
            yield from (_open_file(file) for file in _files(source))
