"""Tables of a teacher's predictions: rows read, turned into logits, and found again by text or id."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from muka_fast.config.specs import PredictionsSpec
from muka_fast.data.corpus import (
    LABEL_NAMES,
    guess_column,
    guess_text_column,
    is_missing,
    label_value,
    row_key,
    text_id,
    text_value,
)
from muka_fast.data.label_space import normalize_label
from muka_fast.data.readers import PEEK_ROWS, TextTable, open_tables
from muka_fast.errors import CorpusError

SCORE_NAMES = ("score", "confidence", "probability", "prob")
LEAST = 1e-6
"""Smallest probability of a class; it keeps the logarithm finite."""
SUM_TOLERANCE = 0.05
"""How far the sum of a row of rounded probabilities may be from 1."""


@dataclass(frozen=True)
class PredictionTable:
    """A teacher's predictions for M texts.

    Attributes:
        labels: Class names in column order, (C,).
        keys: Text ids, or hashes of the id column, ascending, uint64, (M,).
        logits: (M, C) fp32; of probabilities, their logarithms.
        repeated: Rows that are averaged with others of the same text.
        unanswered: Rows without a prediction, left out.
    """

    labels: tuple[str, ...]
    keys: np.ndarray
    logits: np.ndarray
    repeated: int
    unanswered: int

    def __len__(self) -> int:
        return len(self.keys)

    def find(self, keys: np.ndarray) -> np.ndarray:
        """Return the row of each of (N,) keys; −1 where the table has none."""
        rows = np.searchsorted(self.keys, keys).clip(max=len(self.keys) - 1)
        return np.where(self.keys[rows] == keys, rows, -1)

    def fingerprint(self) -> str:
        """Return a hash of labels, keys and logits."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        digest.update(self.keys.astype("<u8").tobytes())
        digest.update(self.logits.astype("<f4").tobytes())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class _Columns:
    """Which columns of a table are read."""

    text: str | None
    pair: str | None
    classes: tuple[str, ...]
    label: str | None
    score: str | None


def read_predictions(
    spec: PredictionsSpec,
    labels: Sequence[str] | None = None,
    pair_column: str | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> PredictionTable:
    """Read a table of predictions.

    Args:
        spec: Files and columns.
        labels: Class names: those of the columns in their order, or of a label column; default: as in the table.
        pair_column: Default of the spec's pair column.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: On a missing or malformed file, a missing column, or a cell that is no prediction; the message
            names file and row.
    """
    columns = _choose_columns(spec, pair_column, log)
    keys: list[int] = []
    if columns.label is None:
        rows, unanswered = _read_numbers(spec, columns, keys, log)
        names = columns.classes if labels is None else tuple(labels)
        if len(names) != len(columns.classes):
            raise CorpusError(
                f"'labels' lists {len(names)} name(s), the table has {len(columns.classes)} columns of numbers: "
                f"{', '.join(columns.classes[:8])}",
                where=_where(spec),
                hint="list one name per column, or the columns under predictions.probabilities",
            )
        values = _as_probabilities(rows, spec, _where(spec))
    else:
        names, values, unanswered = _read_labels(spec, columns, labels, keys, log)
    if not keys:
        raise CorpusError("no row holds a prediction", where=_where(spec), hint="check the columns")
    unique, inverse = np.unique(np.array(keys, dtype=np.uint64), return_inverse=True)
    mean = np.zeros((len(unique), len(names)))
    np.add.at(mean, inverse, values)
    mean /= np.bincount(inverse)[:, None]
    logits = mean if spec.logits else np.log(np.maximum(mean, LEAST))
    return PredictionTable(names, unique, logits.astype(np.float32), len(keys) - len(unique), unanswered)


def _where(spec: PredictionsSpec) -> str:
    return ", ".join(spec.files)


def _choose_columns(spec: PredictionsSpec, pair_column: str | None, log: Callable[[str], None]) -> _Columns:
    """Choose the columns by the first rows of the first table."""
    table = next(iter(open_tables(spec.files)))
    pair = spec.pair_column or pair_column
    listing = f"columns: {', '.join(table.columns)}"

    def present(name: str | None, key: str) -> str | None:
        if name is not None and name not in table.columns:
            raise CorpusError(
                f"no column {name!r} among {listing}", where=table.source, hint=f"name it with predictions.{key}"
            )
        return name

    for key in ("text_column", "id_column", "label_column", "score_column"):
        present(getattr(spec, key), key)
    text = None
    if spec.id_column is None:
        present(pair, "pair_column")
        taken = (pair, spec.label_column, *(spec.probabilities or ()))
        text = spec.text_column or guess_text_column(table, taken, log)
        if text is None:
            hint = "name it with predictions.text_column, or an id with predictions.id_column and data.id_column"
            raise CorpusError(f"no text column among {listing}", where=table.source, hint=hint)
    if spec.probabilities is not None:
        for name in spec.probabilities:
            present(name, "probabilities")
        return _Columns(text, pair, tuple(spec.probabilities), None, None)
    free = [name for name in table.columns if name not in (text, pair, spec.id_column)]
    label = spec.label_column
    if label is None and not spec.logits:
        label = guess_column(free, LABEL_NAMES)
    score = spec.score_column
    if label is not None and score is None:
        score = guess_column([name for name in free if name != label], SCORE_NAMES)
        if score is not None:
            log(f"{table.source}: reading the probability of the predicted class from column {score!r}")
    numbers = _numeric(table, [name for name in free if name not in (label, score)])
    if label is None:
        if len(numbers) < 2:
            raise CorpusError(
                f"neither two columns of numbers nor a label column among {listing}",
                where=table.source,
                hint="name the column of the predicted class with predictions.label_column",
            )
        return _Columns(text, pair, tuple(numbers), None, None)
    if len(numbers) > 1 and spec.label_column is None:
        raise CorpusError(
            f"both a label column {label!r} and columns of numbers {', '.join(map(repr, numbers[:4]))}",
            where=table.source,
            hint="choose with predictions.label_column, or list the columns under predictions.probabilities",
        )
    return _Columns(text, pair, (), label, score)


def _number(value: Any) -> float | None:
    """Return a cell as a number: NaN where it is empty, None where it is something else."""
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        return float("nan")
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _numeric(table: TextTable, names: list[str]) -> list[str]:
    """Return the columns whose first rows hold numbers only."""
    found = dict.fromkeys(names, True)
    seen = dict.fromkeys(names, False)
    for _, values in islice(table.read(names), PEEK_ROWS):
        for name, value in zip(names, values, strict=True):
            number = _number(value)
            found[name] &= number is not None
            seen[name] |= number is not None and number == number
    return [name for name in names if found[name] and seen[name]]


def _rows(
    spec: PredictionsSpec, columns: _Columns, wanted: Sequence[str], log: Callable[[str], None]
) -> Iterator[tuple[str, int, list[Any]]]:
    """Yield file and row, key, and the wanted cells."""
    own = [spec.id_column] if spec.id_column is not None else [columns.text, columns.pair]
    ids = [name for name in own if name is not None]
    names = list(dict.fromkeys([*ids, *wanted]))
    for table in open_tables(spec.files):
        if table.note:
            log(f"{table.source}: {table.note}")
        for name in names:
            if name not in table.columns:
                raise CorpusError(f"no column {name!r}", where=table.source, hint="give all files the same columns")
        for where, values in table.read(names):
            cells = dict(zip(names, values, strict=True))
            if spec.id_column is not None:
                key = row_key(cells[spec.id_column], spec.id_column, where)
            else:
                key = text_id(*(text_value(cells[name], name, where) for name in ids))
            yield where, key, [cells[name] for name in wanted]


def _read_numbers(
    spec: PredictionsSpec, columns: _Columns, keys: list[int], log: Callable[[str], None]
) -> tuple[np.ndarray, int]:
    """Read columns of numbers, (rows, C), and append the rows' keys; also return the number of empty rows."""
    rows: list[list[float]] = []
    unanswered = 0
    for where, key, cells in _rows(spec, columns, columns.classes, log):
        numbers = [_number(cell) for cell in cells]
        empty = sum(number is not None and number != number for number in numbers)
        if empty == len(numbers):
            unanswered += 1
            continue
        for name, cell, number in zip(columns.classes, cells, numbers, strict=True):
            if number is None or not np.isfinite(number):
                raise CorpusError(
                    f"column {name!r} holds {cell!r}, not a number",
                    where=where,
                    hint="correct the cell, or list the columns of the classes under predictions.probabilities",
                )
            if number < 0 and not spec.logits:
                raise CorpusError(f"column {name!r} holds {number:g}, not a probability", where=where, hint=_FORMS)
        total = sum(number for number in numbers if number is not None)
        if not spec.logits and abs(total - 1) > SUM_TOLERANCE:
            raise CorpusError(f"the probabilities of a row sum to {total:.4g}, not 1", where=where, hint=_FORMS)
        rows.append([number for number in numbers if number is not None])
        keys.append(key)
    return np.array(rows, dtype=np.float64).reshape(-1, len(columns.classes)), unanswered


_FORMS = "list the columns of the classes under predictions.probabilities; of logits, set predictions.logits: true"


def _as_probabilities(rows: np.ndarray, spec: PredictionsSpec, where: str) -> np.ndarray:
    if rows.shape[1] < 2:
        raise CorpusError("predictions of a single class", where=where, hint="give one column for each class")
    return rows if spec.logits else rows / rows.sum(1, keepdims=True)


def _read_labels(
    spec: PredictionsSpec,
    columns: _Columns,
    labels: Sequence[str] | None,
    keys: list[int],
    log: Callable[[str], None],
) -> tuple[tuple[str, ...], np.ndarray, int]:
    """Read predicted classes; return their names, distributions (rows, C), and the number of empty rows."""
    wanted = [name for name in (columns.label, columns.score) if name is not None]
    found: list[str] = []
    scores: list[float] = []
    unanswered = 0
    for where, key, cells in _rows(spec, columns, wanted, log):
        name = "" if is_missing(cells[0]) else label_value(cells[0], wanted[0], where)
        if not name.strip():
            unanswered += 1
            continue
        score = _number(cells[1]) if len(cells) > 1 else float("nan")
        if score is None or score < 0 or score > 1:
            raise CorpusError(
                f"column {columns.score!r} holds {cells[1]!r}, not a probability",
                where=where,
                hint="give numbers from 0 to 1, or name another column with predictions.score_column",
            )
        found.append(name)
        scores.append(score)
        keys.append(key)
    if labels is None:
        first: dict[str, str] = {}
        for name in found:
            first.setdefault(normalize_label(name), name)
        names = tuple(first[key] for key in sorted(first))
    else:
        names = tuple(labels)
    if len(names) < 2:
        raise CorpusError(
            f"predictions of {len(names)} class(es)", where=_where(spec), hint="list all classes under 'labels'"
        )
    # Numbers stand for the listed names, unless these are numbers too.
    places = {str(index): index for index in range(len(names))} if labels is not None else {}
    places |= {normalize_label(name): index for index, name in enumerate(names)}
    unknown = Counter(name for name in found if normalize_label(name) not in places)
    if unknown:
        name, count = unknown.most_common(1)[0]
        raise CorpusError(
            f"{len(unknown)} predicted class(es) are not in 'labels', for example {name!r} ({count} rows)",
            where=_where(spec),
            hint="add them to 'labels', or leave the cell empty where there is no prediction",
        )
    indices = np.array([places[normalize_label(name)] for name in found], dtype=np.int64)
    score_of = np.array(scores)
    peak = np.where(np.isnan(score_of), 1 - spec.smoothing, score_of)
    peak = np.clip(peak, 1 / len(names), 1.0)  # below that, every other class would be more likely than this one
    values = np.repeat(((1 - peak) / (len(names) - 1))[:, None], len(names), axis=1)
    values[np.arange(len(indices)), indices] = peak
    return names, values, unanswered
