"""Predictions for the rows of a table, chunk by chunk: whatever the number of rows, a chunk is in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from muka_fast.config.specs import DataSpec
from muka_fast.data.chunks import Contents, RowChunk, chunk_schema, read_chunks, scan, table_chunks
from muka_fast.data.readers import open_stream
from muka_fast.data.writers import Columns, Write, writer_suffix
from muka_fast.errors import ModelError, OutputError, TextError
from muka_fast.inference.base import Advance, TextClassifier, no_progress
from muka_fast.inference.columns import ColumnOptions, prediction_columns, teacher_columns
from muka_fast.inference.predictions import Distributions, tempered

if TYPE_CHECKING:
    from muka_fast.runtime.device import Device
    from muka_fast.runtime.progress import Progress
    from muka_fast.selection.ensemble import Ensemble

STREAM_ROWS = 256
"""Lines of a stream that are classified at once."""


@dataclass(frozen=True)
class RowPredictor:
    """Adds prediction columns to chunks of rows.

    Attributes:
        classifier: The classifier.
        options: Which columns are added.
        ensemble: Chooses a teacher for each text, for the columns about teachers; None without these columns.
    """

    classifier: TextClassifier
    options: ColumnOptions
    ensemble: Ensemble | None = None

    def no_rows(self) -> Columns:
        """Return the columns that are added, without rows."""
        classes = np.empty((0, len(self.classifier.labels)), dtype=np.float32)
        energies = None if self.classifier.kind == "ensemble" else np.empty(0)
        columns = self._predictions(Distributions(classes, energies))
        if self.ensemble is not None:
            count = len(self.ensemble.teachers)
            columns |= self._teachers(self.ensemble, np.empty((0, count)), np.empty((0, count), dtype=np.int64))
        return columns

    def columns(self, chunk: RowChunk, progress: Advance = no_progress) -> Columns:
        """Return the columns for the rows of a chunk.

        Raises:
            TextError: If a text cannot be classified; the message names its row.
        """
        try:
            if self.ensemble is None:
                return self._predictions(self.classifier.distributions(chunk.texts, chunk.pairs, progress))
            return self._with_teachers(self.ensemble, chunk, progress)
        except TextError as error:
            raise TextError(error.what, index=error.index, where=chunk.where[error.index], hint=error.hint) from None

    def _with_teachers(self, ensemble: Ensemble, chunk: RowChunk, progress: Advance) -> Columns:
        from muka_fast.selection.base import targets, teacher_predictions

        both = self.classifier.kind != "ensemble"
        advance: Advance = (lambda count: progress(count / 2)) if both else progress
        pool, selection = ensemble.choose_teachers(chunk.texts, chunk.pairs, advance)
        if both:
            found = self.classifier.distributions(chunk.texts, chunk.pairs, advance)
        else:
            found = tempered(targets(pool, selection), self.classifier.calibration)
        return self._predictions(found) | self._teachers(ensemble, selection.soft_weights, teacher_predictions(pool))

    def _predictions(self, found: Distributions) -> dict[str, np.ndarray]:
        return prediction_columns(found, self.classifier.labels, self.classifier.calibration, self.options)

    def _teachers(self, ensemble: Ensemble, posterior: np.ndarray, predicted: np.ndarray) -> dict[str, np.ndarray]:
        names = [teacher.name for teacher in ensemble.teachers]
        return teacher_columns(posterior, predicted, names, ensemble.labels, self.options)


def load_teachers(model: str, device: Device) -> Ensemble:
    """Load the teachers of a finished run, with the rule that chooses between them.

    Raises:
        ModelError: If the folder is of no finished run, or its method fitted no rule.
        MukaError: If a teacher is missing or has changed.
    """
    from muka_fast.pipeline.load import load_ensemble
    from muka_fast.pipeline.run_artifacts import method_of
    from muka_fast.runtime.device import choose_device
    from muka_fast.selection.in_domain import MODEL_FILE

    if method_of(model) is None:
        raise ModelError(
            "no finished run in the folder, so no choice of teachers",
            where=model,
            hint="give the output folder of amalgamate, or leave --teachers out",
        )
    if not (Path(model) / MODEL_FILE).is_file():
        raise ModelError(
            f"the run's method {method_of(model)} fits no choice of teachers",
            where=model,
            hint="leave --teachers out, or amalgamate with method 'pool'",
        )
    return load_ensemble(model, choose_device(device))


def require_free_output(output: Path, sources: Iterable[str], *, overwrite: bool) -> None:
    """Refuse a file that cannot be written.

    Raises:
        OutputError: If its format is unknown, its folder is missing, or it is a source, in a folder that is one, a
            folder, or a file that may not be replaced.
    """
    writer_suffix(output)
    if not output.parent.is_dir():
        raise OutputError("no such folder", where=str(output.parent), hint="make the folder, or choose another")
    if output.is_dir():
        raise OutputError("a folder where a file should be", where=str(output), hint="choose another name")
    given, target = {Path(source).resolve() for source in sources}, output.resolve()
    if target in given:
        raise OutputError("input and output are the same file", where=str(output), hint="choose another name")
    if not given.isdisjoint(target.parents):
        raise OutputError("the output is in a folder of the input", where=str(output), hint="choose another folder")
    if output.exists() and not overwrite:
        raise OutputError(
            "the file exists", where=str(output), hint="replace it with --overwrite, or choose another name"
        )


@dataclass(frozen=True)
class RowSource:
    """Rows to classify.

    Attributes:
        contents: Their columns; of a stream those of its first rows.
        chunks: The rows.
        rows: Number of rows; None for a stream.
    """

    contents: Contents
    chunks: Iterator[RowChunk]
    rows: int | None


def open_files(data: DataSpec, *, types: bool, log: Callable[[str], None]) -> RowSource:
    """Read the rows of files and data sets once without classifying them, and open them again.

    Args:
        data: The files.
        types: Whether to find the Arrow types of the columns.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: If a row cannot be used.
    """
    contents = scan(data, types=types, log=log)
    return RowSource(contents, read_chunks(data), contents.rows)


def open_lines(
    lines: Iterable[str], source: str, data: DataSpec, *, json_lines: bool, types: bool, log: Callable[[str], None]
) -> RowSource:
    """Open lines that can be read once.

    Args:
        lines: One text a line, or JSON lines.
        source: Name of the lines, for messages.
        data: Names of the columns.
        json_lines: Whether each line is JSON.
        types: Whether to find the Arrow types of the columns.
        log: Receives a line for each guessed column.

    Raises:
        CorpusError: If there is no line, or one of the first cannot be used.
    """
    chunks = table_chunks(open_stream(lines, source, json_lines=json_lines), data, STREAM_ROWS, log)
    first = next(chunks)
    contents = Contents(len(first), first.columns, chunk_schema(first) if types else None)
    return RowSource(contents, chain([first], chunks), None)


def predict_rows(
    source: RowSource,
    predictor: RowPredictor,
    sink: Callable[[Contents, Columns], AbstractContextManager[Write]],
    progress: Progress,
) -> int:
    """Classify rows chunk by chunk, and write each chunk when it is classified.

    Args:
        source: The rows.
        predictor: Adds the columns.
        sink: Opens the output for rows of these columns, and the columns added to them.
        progress: Receives a bar if the number of rows is known.

    Returns:
        Number of rows.

    Raises:
        MukaError: If rows cannot be read, classified or written.
    """
    count = 0
    known = source.rows is not None
    with contextlib.ExitStack() as stack:
        write = stack.enter_context(sink(source.contents, predictor.no_rows()))
        advance = stack.enter_context(progress.task("predicting", source.rows or 0, "texts")) if known else no_progress
        for chunk in source.chunks:
            write(chunk, predictor.columns(chunk, advance))
            count += len(chunk)
    return count
