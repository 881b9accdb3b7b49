"""The command ``predict``: single texts to lines, files to files, standard input to standard output."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muka_fast.cli.app import command, print_json
from muka_fast.cli.flags import JsonOption, PairOption, data_from_flags
from muka_fast.cli.models import RemoteCodeOption, device_name, one_of
from muka_fast.cli.streams import announce_torch, dump_json
from muka_fast.errors import CorpusError, RecipeError
from muka_fast.runtime.printable import printable

if TYPE_CHECKING:
    from muka_fast.config.specs import DataSpec
    from muka_fast.data.chunks import Contents, RowChunk
    from muka_fast.data.corpus import Corpus
    from muka_fast.data.writers import Columns, Write
    from muka_fast.inference.base import TextClassifier
    from muka_fast.inference.columns import ColumnOptions
    from muka_fast.pipeline.predict import RowSource
    from muka_fast.runtime.progress import Progress

STDIN = "standard input"


@dataclass(frozen=True)
class _Model:
    """The classifier that was asked for, and how it decides."""

    model: str
    device: str
    precision: str | None
    temperature: float | None
    abstain_below: float | None
    trust_remote_code: bool

    def load(self, progress: Progress) -> TextClassifier:
        from muka_fast.pipeline.load import load_classifier

        device, trust = device_name(self.device), self.trust_remote_code
        classifier = load_classifier(self.model, device, self.precision, progress.log, trust_remote_code=trust)
        given = {"temperature": self.temperature, "abstain_below": self.abstain_below}
        own = classifier.calibration
        return classifier.with_calibration(own._replace(**{k: v for k, v in given.items() if v is not None}))


@command
def predict(
    model: Annotated[str, typer.Argument(help="A classifier: folder or hub id, or what `export` wrote.")],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to classify; - reads standard input.")
    ] = None,
    data: Annotated[
        list[str] | None, typer.Option("--data", "-d", help="Files of texts to classify instead; - is standard input.")
    ] = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="CSV, TSV, JSONL or Parquet file to write; - is standard output."),
    ] = None,
    form: Annotated[str, typer.Option("--format", help="Lines of standard input and output: text or jsonl.")] = "text",
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    pair_column: PairOption = None,
    top: Annotated[int, typer.Option("--top", help="Name so many classes, the most likely first.")] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Add a column with the probability of each class.")
    ] = False,
    teachers: Annotated[
        bool, typer.Option("--teachers", help="Add which teacher is most likely in-domain; runs all teachers.")
    ] = False,
    prefix: Annotated[str, typer.Option("--prefix", help="Begin the names of added columns with this.")] = "",
    precision: Annotated[str | None, typer.Option(help="Precision of an export's graph to use.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Temperature of the softmax; default: the model's.")] = None,
    abstain_below: Annotated[
        float | None, typer.Option(help="Probability below which no class is named; default: the model's.")
    ] = None,
    uncertainty: Annotated[bool, typer.Option("--uncertainty", help="Add entropy and energy.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the output file.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    trust_remote_code: RemoteCodeOption = False,
    as_json: JsonOption = False,
) -> None:
    """Print label (– if the classifier abstains), probability and text, or write files with prediction columns."""
    if bool(texts) == bool(data):
        raise RecipeError(
            "give texts or --data, one of them", where="command line", hint="muka-fast predict MODEL 'hi'"
        )
    if temperature is not None and not temperature > 0:
        raise RecipeError(f"not a temperature: {temperature}", where="--temperature", hint="give a number above 0")
    if abstain_below is not None and not 0 <= abstain_below <= 1:
        raise RecipeError(
            f"not a probability: {abstain_below}", where="--abstain-below", hint="give a number from 0 to 1"
        )
    one_of(form, ("text", "jsonl"), "--format")
    announce_torch()
    from muka_fast.inference.columns import ColumnOptions
    from muka_fast.pipeline.run_artifacts import pair_column_of
    from muka_fast.runtime.progress import Progress

    stdin = _is_stdin(texts, data)
    sources = ["-"] if stdin else data or []
    options = ColumnOptions(top, probabilities, uncertainty, prefix)
    adds_columns = top != 1 or probabilities or teachers or bool(prefix)
    _require_output_for(output, form, as_json=as_json, adds_columns=adds_columns)
    if not sources and (output is not None or form != "text"):
        raise RecipeError(
            "rows are read with --data", where="command line", hint="put the texts into a file, or pipe them to -d -"
        )
    progress, chosen = Progress(), _Model(model, device, precision, temperature, abstain_below, trust_remote_code)
    spec = data_from_flags(sources, text_column, pair_column=pair_column or pair_column_of(model)) if sources else None
    if spec is None or as_json or (output is None and not stdin and form == "text"):
        _print_all(chosen, _read_all(spec, texts or [], form, progress), progress, uncertainty, as_json=as_json)
    else:
        _predict_rows(chosen, spec, output or "-", form, options, progress, teachers=teachers, overwrite=overwrite)


def _is_stdin(texts: list[str] | None, data: list[str] | None) -> bool:
    """Return whether standard input is to be read."""
    given = data or texts or []
    if "-" in given and len(given) > 1:
        raise RecipeError(
            "standard input beside other texts", where="command line", hint="give - alone, or files and texts"
        )
    return given == ["-"]


def _require_output_for(output: str | None, form: str, *, as_json: bool, adds_columns: bool) -> None:
    """Refuse options that the kind of output has no place for."""
    if output is not None and as_json:
        raise RecipeError("--json prints to standard output", where="--output", hint="give -o FILE.jsonl alone")
    if adds_columns and (as_json or (output in (None, "-") and form == "text")):
        raise RecipeError(
            "--top, --probabilities, --teachers and --prefix are about columns",
            where="command line",
            hint="give -o FILE, or --format jsonl",
        )


def _read_lines() -> Iterator[str]:
    """Yield the lines of standard input, which is UTF-8 whatever the locale."""
    try:
        yield from io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8-sig", newline="")
    except UnicodeDecodeError as error:
        raise CorpusError(f"not UTF-8: {error.reason}", where=STDIN, hint="convert it with iconv") from None


def _read_all(spec: DataSpec | None, texts: list[str], form: str, progress: Progress) -> Corpus:
    """Return all texts to classify."""
    from muka_fast.data.corpus import build_corpus, read_corpus

    if spec is None:
        return build_corpus(texts, distinct=False)
    if spec.texts != ["-"]:
        return read_corpus(spec, distinct=False, log=progress.log)
    chunks = list(_open(spec, form, progress, types=False).chunks)
    pairs = None if spec.pair_column is None else [pair for chunk in chunks for pair in chunk.pairs or []]
    return build_corpus([text for chunk in chunks for text in chunk.texts], pairs, distinct=False)


def _print_all(model: _Model, corpus: Corpus, progress: Progress, uncertainty: bool, *, as_json: bool) -> None:
    """Classify all texts at once, and print lines or one object."""
    classifier = model.load(progress)
    with corpus.locating_errors():
        predictions = classifier.classify(corpus.texts, corpus.pairs)
    if as_json:
        records = [
            {"text": text}
            | {key: round(value, 6) if isinstance(value, float) else value for key, value in one._asdict().items()}
            for text, one in zip(corpus.texts, predictions, strict=True)
        ]
        print_json("predict", model=model.model, predictions=records)
        return
    for text, one in zip(corpus.texts, predictions, strict=True):
        print(_line(text, one.label, one.probability, (one.entropy, one.energy) if uncertainty else ()))


def _line(text: str, label: str | None, probability: float, more: tuple[float | None, ...]) -> str:
    """Return label, probability, entropy and energy (an ensemble has none), and text, separated by tabs."""
    numbers = ["–" if number is None else f"{number:.4f}" for number in (probability, *more)]
    return "\t".join([printable(label or "–"), *numbers, printable(" ".join(text.split()))])


def _open(spec: DataSpec, form: str, progress: Progress, *, types: bool) -> RowSource:
    from muka_fast.pipeline.predict import open_files, open_lines

    if spec.texts != ["-"]:
        return open_files(spec, types=types, log=progress.log)
    return open_lines(_read_lines(), STDIN, spec, json_lines=form == "jsonl", types=types, log=progress.log)


def _predict_rows(
    model: _Model,
    spec: DataSpec,
    output: str,
    form: str,
    options: ColumnOptions,
    progress: Progress,
    *,
    teachers: bool,
    overwrite: bool,
) -> None:
    """Classify rows chunk by chunk, and write them to a file or standard output."""
    from muka_fast.data.writers import open_writer
    from muka_fast.pipeline.predict import RowPredictor, load_teachers, predict_rows, require_free_output

    path = None if output == "-" else Path(output)
    if path is not None:
        require_free_output(path, spec.texts, overwrite=overwrite)
    source = _open(spec, form, progress, types=path is not None and path.suffix.lower() == ".parquet")
    ensemble = load_teachers(model.model, device_name(model.device)) if teachers else None
    predictor = RowPredictor(model.load(progress), options, ensemble)

    def sink(contents: Contents, added: Columns) -> contextlib.AbstractContextManager[Write]:
        if path is not None:
            return open_writer(path, contents, added)
        return _standard_output(form, options)

    predict_rows(source, predictor, sink, progress)
    if path is not None:
        print(path)


@contextlib.contextmanager
def _standard_output(form: str, options: ColumnOptions) -> Iterator[Write]:
    """Yield a function that prints chunks; the end of a reader such as ``head`` ends the command."""
    from muka_fast.data.writers import json_lines_writer

    json_lines = json_lines_writer(sys.stdout, dump_json)

    def write(chunk: RowChunk, columns: Columns) -> None:
        if form == "jsonl":
            json_lines(chunk, columns)
        else:
            _print_lines(chunk, columns, options)
        sys.stdout.flush()

    try:
        yield write
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the interpreter flushes it at its end
        sys.exit(0)


def _print_lines(chunk: RowChunk, columns: Columns, options: ColumnOptions) -> None:
    lists = {name: column.tolist() for name, column in columns.items()}
    none = [None] * len(chunk)
    more = [lists["entropy"], lists.get("energy", none)] if options.uncertainty else []
    for text, label, score, *numbers in zip(chunk.texts, lists["label"], lists["score"], *more, strict=True):
        print(_line(text, label, score, tuple(numbers)))
