"""Delimited text: the dialect of a file is found by reading all of it, then its rows are read in that dialect.

A dialect is a delimiter and a meaning of quotation marks. The right one gives every row as many cells as the header
has. Where several do, marks that quote nothing are part of the text, as in the files of GLUE.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from muka_fast.data.text_files import open_text
from muka_fast.errors import CorpusError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
Quoting = Literal["doubled", "escaped", "none"]
_QUOTING: dict[str, dict[str, Any]] = {
    "doubled": {"strict": True},
    "escaped": {"strict": True, "doublequote": False, "escapechar": "\\"},
    "none": {"quoting": csv.QUOTE_NONE},
}
_EXCEL_LINE = re.compile(r'"?sep=(.)"?', re.IGNORECASE)
_MAX_VALUES, _MAX_SPANS = 1000, 1000


@dataclass(frozen=True)
class Dialect:
    """How the cells of a file are separated.

    Attributes:
        delimiter: Character between cells.
        quoting: Quotation marks around cells, doubled or escaped inside them; or none: a mark is part of the text.
    """

    delimiter: str
    quoting: Quoting = "doubled"


@dataclass
class _Span:
    """A row of several lines: the numbers of the first and the last, and the cells of each if no mark joined them."""

    first: int
    last: int
    rows: list[list[str]]


@dataclass
class _Reading:
    """A file read in one dialect.

    Attributes:
        dialect: The dialect.
        width: Cells of the header.
        rows: Rows after the header.
        regular: Rows with as many cells as the header.
        error: What is not valid in this dialect; empty if all is.
        spans: The first rows of several lines.
        values: Distinct values of each column; None for a column of many.
    """

    dialect: Dialect
    width: int = 0
    rows: int = 0
    regular: int = 0
    error: str = ""
    spans: list[_Span] = field(default_factory=list)
    values: list[set[str] | None] = field(default_factory=list)

    @property
    def share(self) -> float:
        """Share of the rows that have as many cells as the header, of two or more."""
        return 0.0 if self.error or self.width < 2 else self.regular / max(1, self.rows)

    def swallowed(self) -> _Span | None:
        """Return the first row whose lines look like rows by themselves: same width, and a value of another row."""
        return next((span for span in self.spans if self._are_rows(span.rows)), None)

    def _are_rows(self, rows: list[list[str]]) -> bool:
        # A space follows a comma that belongs to a text.
        if any(len(cells) != self.width or any(cell[:1].isspace() for cell in cells[1:]) for cells in rows):
            return False
        columns = [(column, seen) for column, seen in enumerate(self.values) if seen]
        return self.width > 1 and any(_is_alike(cells[column], seen) for cells in rows[:-1] for column, seen in columns)


def _is_alike(value: str, seen: set[str]) -> bool:
    return value in seen or (value.isdigit() and all(other.isdigit() for other in seen))


def _rows(lines: Iterable[str], dialect: Dialect, start: int = 0) -> Iterator[tuple[int, int, list[str], list[str]]]:
    """Yield (first line, last line, cells, lines) of each row; blank lines between rows are left out."""
    csv.field_size_limit(2**31 - 1)
    taken: list[str] = []

    def keep() -> Iterator[str]:
        for line in lines:
            taken.append(line)
            yield line

    reader = csv.reader(keep(), delimiter=dialect.delimiter, **_QUOTING[dialect.quoting])
    before = width = 0
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise csv.Error(f"{start + before + 1}:{error}") from None
        if len(cells) > 1 or (cells and (width < 2 or cells[0].strip())):
            width = width or len(cells)
            yield start + before + 1, start + reader.line_num, cells, taken
        before = reader.line_num
        taken.clear()


def _skip_excel_line(lines: Iterator[str]) -> tuple[str, int, Iterator[str]]:
    """Return the delimiter that a first line ``sep=;`` names, the lines before the header, and the other lines."""
    first = next(lines, "")
    named = _EXCEL_LINE.fullmatch(first.strip("\r\n"))
    return (named[1], 1, lines) if named else ("", 0, chain([first] if first else [], lines))


def _read(path: Path, dialect: Dialect) -> _Reading:
    """Read a file in a dialect, and count."""
    reading = _Reading(dialect)
    with open_text(path) as file:
        _, skipped, lines = _skip_excel_line(file)
        try:
            for first, last, cells, taken in _rows(lines, dialect, skipped):
                if not reading.width:
                    reading.width, reading.values = len(cells), [set() for _ in cells]
                    continue
                reading.rows += 1
                if len(cells) != reading.width:
                    continue
                reading.regular += 1
                if len(taken) > 1 and len(reading.spans) < _MAX_SPANS:
                    raw = csv.reader(taken, delimiter=dialect.delimiter, quoting=csv.QUOTE_NONE)
                    rows = [[*row[:-1], row[-1].rstrip("\r\n")] for row in raw if row]
                    reading.spans.append(_Span(first, last, rows))
                    continue  # its values are no evidence for itself
                for column, value in enumerate(cells):
                    seen = reading.values[column]
                    if seen is not None:
                        seen.add(value)
                        if len(seen) > _MAX_VALUES:
                            reading.values[column] = None
        except csv.Error as error:
            reading.error = str(error)
    return reading


@dataclass(frozen=True)
class _Marks:
    """What the quotation marks of a file do, line by line.

    Attributes:
        escaped: Whether a backslash precedes one.
        structural: Whether a writer put cells in marks: the header, all of a column, or one with a doubled mark.
    """

    escaped: bool
    structural: bool


def _marks(path: Path, delimiter: str) -> _Marks:
    """Look for quotation marks, with every line taken as a row."""
    escaped = structural = False
    rows, in_marks = 0, Counter[int]()
    with open_text(path) as file:
        for line in filter(str.strip, file):
            rows += 1
            escaped = escaped or '\\"' in line
            for column, cell in enumerate(line.rstrip("\r\n").split(delimiter)):
                if len(cell) > 1 and cell[0] == cell[-1] == '"':
                    in_marks[column] += 1
                    structural = structural or rows == 1 or '""' in cell[1:-1]
    return _Marks(escaped, structural or any(count >= rows - 1 > 0 for count in in_marks.values()))


def _better(readings: list[_Reading]) -> _Reading:
    """Return the reading of a delimiter whose rows are most regular; of equals the first."""
    return max(readings, key=lambda reading: (reading.share, not reading.error))


def find_dialect(path: Path, default: str) -> Dialect:
    """Return the dialect of a file.

    Args:
        path: The file.
        default: Delimiter to prefer: that of the file's suffix.

    Raises:
        CorpusError: If a quotation mark joins lines that look like rows by themselves; the message names the line.
    """
    with open_text(path) as file:
        named, _, lines = _skip_excel_line(file)
        header = next((line for line in lines if line.strip()), "")
        marks = '"' in header or any('"' in line for line in lines)
    candidates = [named] if named else [default, *(other for other in DELIMITERS if other != default)]
    quotings: tuple[Quoting, ...] = ("doubled", "none") if marks else ("doubled",)
    readings = {
        delimiter: [_read(path, Dialect(delimiter, quoting)) for quoting in quotings]
        for delimiter in candidates
        if delimiter in header
    }
    best = {delimiter: _better(found) for delimiter, found in readings.items()}
    regular = [delimiter for delimiter, reading in best.items() if reading.share == 1]
    mostly = [delimiter for delimiter, reading in best.items() if reading.share >= 0.5]
    if default in regular or (not regular and default in best):
        delimiter = default
    elif regular or mostly:
        delimiter = max(regular or mostly, key=lambda one: (best[one].share, best[one].width))
    else:
        return Dialect(named or default)  # one column: marks can hold line breaks only
    return _choose_quoting(path, *readings[delimiter]) if marks else Dialect(delimiter)


def _choose_quoting(path: Path, quoted: _Reading, literal: _Reading) -> Dialect:
    marks = _marks(path, quoted.dialect.delimiter)
    if marks.escaped:
        escaped = _read(path, Dialect(quoted.dialect.delimiter, "escaped"))
        if escaped.share == 1 > quoted.share:
            return escaped.dialect
    comma = quoted.dialect.delimiter == ","
    if quoted.share < 1 or literal.share < 1:
        chosen = literal if literal.share > quoted.share else quoted
    elif quoted.spans:
        # Both readings are regular. A text with a tab and a line break in the right places is less likely than two
        # texts with a stray mark each; a comma in a text is not.
        chosen = literal if not (comma or marks.structural) or quoted.swallowed() else quoted
    else:
        chosen = quoted if comma or marks.structural else literal
    span = chosen.swallowed()
    if span is not None:
        raise CorpusError(
            f"a quotation mark joins lines {span.first} to {span.last}, which look like {span.last - span.first + 1} "
            "rows",
            where=f"{path}:{span.first}",
            hint='double the marks inside texts ("") and quote these texts, or write the file as JSONL or Parquet',
        )
    return chosen.dialect


def describe(dialect: Dialect, default: str) -> str:
    """Return a dialect in words; empty if it is the usual one of the file's suffix."""
    if dialect == Dialect(default):
        return ""
    quoting = {"doubled": "", "escaped": ', \\" is a quotation mark', "none": ", quotation marks are part of the text"}
    name = DELIMITERS.get(dialect.delimiter, repr(dialect.delimiter))
    return f"columns are separated by {name}{quoting[dialect.quoting]}"


def read_rows(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of the header and of each row.

    Raises:
        CorpusError: If a row is not valid in the dialect or has not as many cells as the header.
    """
    header: list[str] | None = None
    with open_text(path) as file:
        _, skipped, lines = _skip_excel_line(file)
        try:
            for _, last, cells, _ in _rows(lines, dialect, skipped):
                header = cells if header is None else header
                if len(cells) != len(header):
                    raise CorpusError(
                        f"ragged row: {len(cells)} value(s), but the header has {len(header)}",
                        where=f"{path}:{last}",
                        hint="quote values that contain the delimiter",
                    )
                yield last, cells
        except csv.Error as error:
            line, _, reason = str(error).partition(":")
            raise CorpusError(f"not valid CSV: {reason}", where=f"{path}:{line}", hint="correct the row") from None
