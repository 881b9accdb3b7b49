"""The corpus: texts read from the columns of tables, with stable text ids."""

from __future__ import annotations

import hashlib
import reprlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from muka_fast.config.specs import DataSpec
from muka_fast.data.readers import open_tables
from muka_fast.data.tables import TextTable
from muka_fast.data.text_column import TextColumn, TextWriter, take_texts
from muka_fast.errors import CorpusError, TextError
from muka_fast.runtime.printable import is_valid_unicode

TEXT_NAMES = ("text", "sentence", "content", "utterance", "query", "question", "body", "document", "message")
LABEL_NAMES = ("label", "label_text", "labels", "intent", "category", "class", "target", "topic")


@dataclass(frozen=True)
class Corpus:
    """N texts, in the order in which they were read.

    Attributes:
        texts: One string per text, none empty; of a corpus that was read, in a file.
        pairs: The second text of each pair, or None.
        ids: Content hashes, uint64, (N,).
        labels: Label name of each text, or None if labels were not requested.
        read: Rows read.
        empty: Rows left out because their text is empty.
        duplicate: Rows left out because their text was read before.
        source: Where the texts were read; None if they were given.
        keys: Hash of each text's cell in the id column, uint64, (N,); None without such a column.
    """

    texts: Sequence[str]
    pairs: Sequence[str] | None
    ids: np.ndarray
    labels: tuple[str, ...] | None = None
    read: int = 0
    empty: int = 0
    duplicate: int = 0
    source: DataSpec | None = None
    keys: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    def take(self, indices: Sequence[int] | np.ndarray) -> Corpus:
        """Return the texts at ``indices``, in that order."""
        rows = np.asarray(indices, dtype=np.int64)
        return Corpus(
            take_texts(self.texts, rows),
            None if self.pairs is None else take_texts(self.pairs, rows),
            self.ids[rows],
            None if self.labels is None else tuple(self.labels[row] for row in rows),
            source=self.source,
            keys=None if self.keys is None else self.keys[rows],
        )

    def location(self, index: int) -> str:
        """Return file and line of a text, found by reading its source again, or the text itself if it was given."""
        text, pair = self.texts[index], None if self.pairs is None else self.pairs[index]
        rows = () if self.source is None else _rows(self.source, with_labels=False, log=lambda _: None)
        line = next((f"{row.where}, " for row in rows if (row.text, row.pair) == (text, pair)), "")
        return f"{line}text {text[:40]!r}"

    @contextmanager
    def locating_errors(self) -> Iterator[None]:
        """Name file and line in errors that concern one of the texts."""
        try:
            yield
        except TextError as error:
            where = self.location(error.index)
            raise TextError(error.what, index=error.index, where=where, hint=error.hint) from None


def text_id(text: str, pair: str | None = None) -> int:
    """Return the 64-bit id of a text: the first 8 bytes of BLAKE2b over its UTF-8 bytes, a NUL before a pair."""
    content = text if pair is None else f"{text}\0{pair}"
    return int.from_bytes(hashlib.blake2b(content.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def build_corpus(
    texts: Sequence[str],
    pairs: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    keys: Sequence[int] | None = None,
    *,
    distinct: bool = True,
) -> Corpus:
    """Build a corpus; if ``distinct``, leave out and count empty and repeated texts."""
    ids, blank = np.empty(len(texts), dtype=np.uint64), np.zeros(len(texts), dtype=bool)
    for index, (text, pair) in enumerate(zip(texts, repeat(None) if pairs is None else pairs, strict=False)):
        ids[index] = text_id(text, pair)
        blank[index] = not text.strip() and not (pair or "").strip()
    everything = Corpus(
        texts if isinstance(texts, TextColumn) else tuple(texts),
        pairs if pairs is None or isinstance(pairs, TextColumn) else tuple(pairs),
        ids,
        None if labels is None else tuple(labels),
        read=len(texts),
        keys=None if keys is None else np.array(keys, dtype=np.uint64),
    )
    if not distinct:
        return everything
    filled = np.flatnonzero(~blank)
    kept = filled[np.sort(np.unique(ids[filled], return_index=True)[1])]
    return replace(
        everything if len(kept) == len(texts) else everything.take(kept),
        read=len(texts),
        empty=len(texts) - len(filled),
        duplicate=len(filled) - len(kept),
    )


def guess_column(names: Sequence[str], known: Sequence[str]) -> str | None:
    """Return the first of some known names that a column has, whatever its case; None if there is none."""
    by_fold = {name.strip().casefold(): name for name in names}
    return next((by_fold[candidate] for candidate in known if candidate in by_fold), None)


def guess_text_column(table: TextTable, taken: Sequence[str | None], log: Callable[[str], None]) -> str | None:
    """Return the text column of a table: one of a known name, or the only column of strings; None without one.

    Args:
        table: The table.
        taken: Columns that hold something else.
        log: Receives a line if the column is not named "text".
    """
    free = [name for name in table.columns if name not in taken]
    strings = [name for name in table.strings if name in free and name.casefold() not in LABEL_NAMES]
    text = guess_column(free, TEXT_NAMES) or (strings[0] if len(strings) == 1 else None)
    if text not in (None, "text"):
        log(f"{table.source}: reading texts from column {text!r}")
    return text


def choose_columns(
    spec: DataSpec, table: TextTable, with_labels: bool, log: Callable[[str], None]
) -> tuple[str, str | None, str | None]:
    """Return the names of the text, pair and label columns of a table.

    Args:
        spec: Columns that are given; the others are guessed.
        table: The table.
        with_labels: Whether a label column is needed.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: If a column is missing.
    """
    listing = f"columns: {', '.join(table.columns)}"

    def missing(what: str, key: str) -> CorpusError:
        return CorpusError(f"{what} among {listing}", where=table.source, hint=f"name it with {key}")

    text = spec.text_column
    if text is None:
        text = guess_text_column(table, (spec.pair_column, spec.label_column, spec.id_column), log)
        if text is None:
            raise missing("no text column", "text_column")
    elif text not in table.columns:
        raise missing(f"no column {text!r}", "text_column")
    if spec.pair_column is not None and spec.pair_column not in table.columns:
        raise missing(f"no column {spec.pair_column!r}", "pair_column")
    if spec.id_column is not None and spec.id_column not in table.columns:
        raise missing(f"no column {spec.id_column!r}", "id_column")
    if not with_labels:
        return text, spec.pair_column, None
    label = spec.label_column
    if label is None:
        label = guess_column([name for name in table.columns if name not in (text, spec.pair_column)], LABEL_NAMES)
        if label is None:
            raise missing("no label column", "label_column")
        if label != "label":
            log(f"{table.source}: reading labels from column {label!r}")
    elif label not in table.columns:
        raise missing(f"no column {label!r}", "label_column")
    return text, spec.pair_column, label


def is_missing(value: Any) -> bool:
    """Return whether a value is null or NaN."""
    return value is None or (isinstance(value, float) and value != value)


def text_value(value: Any, column: str, where: str) -> str:
    """Return a cell's text.

    Args:
        value: The cell.
        column: Its column, for the message.
        where: File and row.

    Raises:
        CorpusError: If it is missing, no text, or not valid Unicode.
    """
    if isinstance(value, bytes):  # Parquet files of engines that do not mark strings as such
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise CorpusError(
                f"column {column!r} holds bytes that are not UTF-8", where=where, hint="write the column as strings"
            ) from None
    if isinstance(value, str):
        if not is_valid_unicode(value):
            raise CorpusError(
                f"column {column!r} holds half of a surrogate pair", where=where, hint="write the text as valid Unicode"
            )
        return value
    kind = "is missing (null or NaN)" if is_missing(value) else f"holds {reprlib.repr(value)}, not text"
    raise CorpusError(f"column {column!r} {kind}", where=where, hint="drop the row or write text into it")


def label_value(value: Any, column: str, where: str) -> str:
    """Return the label in a cell, as text; the whole number 17 is the same label in all formats.

    Args:
        value: The cell.
        column: Its column, for the message.
        where: File and row.

    Raises:
        CorpusError: If it is missing, or not valid Unicode.
    """
    if isinstance(value, str | bytes):
        return text_value(value, column, where)
    if is_missing(value):
        raise CorpusError(f"column {column!r} is missing (null or NaN)", where=where, hint="drop the row")
    try:
        return str(int(value) if isinstance(value, float) and value.is_integer() else value)
    except ValueError:  # a whole number of thousands of digits
        raise CorpusError(
            f"column {column!r} holds {reprlib.repr(value)}, not a label", where=where, hint="correct the row"
        ) from None


def row_key(value: Any, column: str, where: str) -> int:
    """Return the hash of a cell of an id column; the whole number 17 is the same id in all formats.

    Args:
        value: The cell.
        column: Its column, for the message.
        where: File and row.

    Raises:
        CorpusError: If it is missing.
    """
    return text_id(label_value(value, column, where))


class _Row(NamedTuple):
    """One row: its location, its text, and the second text, the label and the id if they are read."""

    where: str
    text: str
    pair: str | None
    label: str | None
    key: int | None


def _rows(spec: DataSpec, *, with_labels: bool, log: Callable[[str], None]) -> Iterator[_Row]:
    """Read the rows of all tables."""
    for table in open_tables(spec.texts, config=spec.config, split=spec.split):
        if table.note:
            log(f"{table.source}: {table.note}")
        text, pair, label = choose_columns(spec, table, with_labels, log)
        wanted = list(dict.fromkeys(one for one in (text, pair, label, spec.id_column) if one is not None))
        for where, values in table.read(wanted):
            cells = dict(zip(wanted, values, strict=True))
            first = text_value(cells[text], text, where)
            second = None if pair is None else text_value(cells[pair], pair, where)
            name = None if label is None else label_value(cells[label], label, where)
            key = None if spec.id_column is None else row_key(cells[spec.id_column], spec.id_column, where)
            yield _Row(where, first, second, name, key)


def read_corpus(
    spec: DataSpec,
    *,
    with_labels: bool = False,
    distinct: bool = True,
    log: Callable[[str], None] = lambda _: None,
    scratch: Path | None = None,
) -> Corpus:
    """Read the texts of a recipe's data section; they are kept in a file, not in memory.

    Args:
        spec: Files, columns and hub data sets.
        with_labels: Read the label column too; never set for the unlabelled pool.
        distinct: Leave out empty and repeated texts.
        log: Receives a line for each guessed column.
        scratch: Folder of the file without a name that holds the texts; default: the system's for temporary files.

    Raises:
        CorpusError: On a missing or empty file, a missing column, a value that is not text, or text that is not
            UTF-8; the message names file and row.
    """
    texts, pairs = TextWriter(scratch), TextWriter(scratch)
    labels: list[str] = []
    keys = array("Q")
    for row in _rows(spec, with_labels=with_labels, log=log):
        texts.append(row.text)
        if row.pair is not None:
            pairs.append(row.pair)
        if row.label is not None:
            labels.append(row.label)
        if row.key is not None:
            keys.append(row.key)
    corpus = build_corpus(
        texts.finish(),
        pairs.finish() if spec.pair_column is not None else None,
        labels if with_labels else None,
        keys if spec.id_column is not None else None,
        distinct=distinct,
    )
    if not len(corpus):
        raise CorpusError("every text is empty", where=", ".join(spec.texts), hint="check the text column")
    return replace(corpus, source=spec)
