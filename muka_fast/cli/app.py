"""The Typer application: errors become lines and exit codes, results are printed to stdout."""

from __future__ import annotations

import contextlib
import functools
import inspect
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

import typer

from muka_fast import __version__
from muka_fast.cli.streams import dump_json
from muka_fast.errors import MukaError, UnexpectedError, first_line, machine_error
from muka_fast.runtime.printable import TERMINAL_WIDTH, broken_lines, line_width, printable

if TYPE_CHECKING:
    from muka_fast.evaluation.evaluation_record import Evaluation
    from muka_fast.evaluation.run_record import RunRecord

app = typer.Typer(
    name="muka-fast",
    help="Merge fine-tuned text classifiers into one student over all their labels, without labelled data.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SCHEMA_VERSION = 2
WEAKEST = 8
"""Classes that a run's summary lists."""
CONFUSED = 3
"""Pairs of confused classes that a run's summary lists."""
RESUMABLE = ("amalgamate", "score")
"""Commands that resume after an interruption."""
_state: dict[str, Any] = {"verbose": False, "log_file": None}


LogFileOption = Annotated[
    Path | None, typer.Option("--log-file", metavar="FILE", help="Append every message to a file, as JSON lines.")
]


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command. Its errors become lines of what, where and fix, and an exit code.

    Every command takes ``--log-file``.
    """

    @functools.wraps(function)
    def guarded(*args: Any, log_file: Path | None = None, **kwargs: Any) -> None:
        with _logging(function.__name__, log_file or _state["log_file"]):
            try:
                function(*args, **kwargs)
            except MukaError as error:
                _fail(error)
            except KeyboardInterrupt:
                same = shlex.join(["muka-fast", *sys.argv[1:]])
                resume = f" Finished parts are kept; to resume, run the same command:\n  {same}"
                print(f"interrupted.{resume if function.__name__ in RESUMABLE else ''}", file=sys.stderr)
                sys.exit(130)
            except Exception as error:
                # Typer's own, and a reader of stdout that has gone, are handled by Typer.
                if type(error).__module__.startswith(("typer", "click")) or isinstance(error, BrokenPipeError):
                    raise
                _fail(machine_error(error) or _unexpected(error))

    signature, hints = inspect.signature(function), get_type_hints(function, include_extras=True)
    option = inspect.Parameter("log_file", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=LogFileOption)
    parameters = [
        one.replace(annotation=hints.get(name, one.annotation), kind=inspect.Parameter.KEYWORD_ONLY)
        for name, one in signature.parameters.items()
    ]
    guarded.__dict__["__signature__"] = inspect.Signature([*parameters, option])
    guarded.__annotations__ = {one.name: one.annotation for one in (*parameters, option)}
    return app.command()(guarded)


@contextlib.contextmanager
def _logging(name: str, path: Path | None) -> Iterator[None]:
    """Log the block to a file, with its start and its end."""
    if path is None:
        yield
        return
    from muka_fast.runtime.logs import LOGGER, log_to_file

    try:
        handler = log_to_file(path)
    except MukaError as error:
        _fail(error)
    logger = logging.getLogger(f"{LOGGER}.cli")
    code: Any = 1
    try:
        started = {"event": "start", "command": sys.argv}
        logger.info(f"muka-fast {__version__}, {name}", extra=started)
        yield
        code = 0
    except SystemExit as ended:
        code = ended.code
        raise
    finally:
        logger.info(f"ended with exit code {code}", extra={"event": "end", "exit_code": code})
        logging.getLogger(LOGGER).removeHandler(handler)
        handler.close()


def _fail(error: MukaError) -> NoReturn:
    # The file keeps the traceback; the terminal shows it with --verbose only.
    logging.getLogger("muka_fast.cli").error(str(error), exc_info=True)
    if _state["verbose"]:
        traceback.print_exc()
    print(f"error: {printable(str(error), keep=chr(10))}", file=sys.stderr)
    sys.exit(error.exit_code)


def _unexpected(error: Exception) -> MukaError:
    """Return an error of the package itself, in the form of all others."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "muka_fast" in frame.filename]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "muka-fast"
    return UnexpectedError(
        f"unexpected {type(error).__name__}: {first_line(error)[:200]}",
        where=where,
        hint="report it with the output of 'muka-fast env', and of this command with 'muka-fast --verbose'",
    )


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def _options(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks and library messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    log_file: LogFileOption = None,
) -> None:
    _state.update(verbose=verbose, log_file=log_file)
    # Without a handler of its own, Python's last resort would print records that _fail prints anyway.
    logging.getLogger("muka_fast").addHandler(logging.NullHandler())
    if not verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def print_json(kind: str, **fields: Any) -> None:
    """Print one object with its schema version."""
    print(dump_json({"schema_version": SCHEMA_VERSION, "kind": kind, **fields}))


def print_line(text: str) -> None:
    """Print a line for people: control characters escaped, broken at spaces where a terminal is too narrow for it."""
    print(broken_lines(printable(text), line_width(sys.stdout)))


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print rows under a header."""
    from rich.console import Console

    from muka_fast.evaluation.tables import terminal_table

    console = Console(width=None if sys.stdout.isatty() else TERMINAL_WIDTH, highlight=False, markup=False)
    cells = [[printable(cell) for cell in row] for row in rows]
    console.print(terminal_table(header, cells, title, width=console.width))


def print_results(test: Evaluation, *, weakest: int | None = None) -> None:
    """Print the metrics of an evaluation.

    Args:
        test: The metrics.
        weakest: How many classes to print, those of lowest F1; default: all, in the order of the model.
    """
    from muka_fast.evaluation.tables import calibration_line, percent, result_rows, weakest_classes

    classes = test.metrics.classes
    title = f"{test.classifier}, by class"
    if weakest is not None and len(classes) > weakest:
        classes = weakest_classes(test, weakest)
        title = f"{test.classifier}: the {len(classes)} weakest of {len(test.metrics.classes)} classes"
    cells = [
        [one.name, percent(one.precision), percent(one.recall), percent(one.f1), str(one.support)] for one in classes
    ]
    if cells:
        print_table(title, ["class", "precision", "recall", "F1", "texts"], cells)
    if weakest is not None and test.confused:
        pairs = [f"{pair.true!r} taken for {pair.predicted!r} ({pair.count})" for pair in test.confused[:CONFUSED]]
        print_line(f"confused most: {'; '.join(pairs)}")
    rows = [[name, accuracy, note] for name, accuracy, note in result_rows(test)]
    print_table(f"{test.metrics.count} labelled texts", ["", "accuracy", ""], rows)
    print_line(calibration_line(test))
    if test.unknown_labels:
        count = sum(test.unknown_labels.values())
        print_line(f"left out: {count} texts of {len(test.unknown_labels)} label(s) outside the label space")


def print_summary(record: RunRecord, output: str) -> None:
    """Print what a finished run is worth and what can be done with it; the last line of stdout is its folder.

    Args:
        record: The run's record.
        output: Its folder.
    """
    from muka_fast.evaluation.tables import summary_lines

    if record.test is not None:
        print_results(record.test, weakest=WEAKEST)
    for line in summary_lines(record):
        print_line(line)
    sys.stdout.flush()
    folder = shlex.quote(output)
    next_lines = [f"muka-fast predict {folder} 'a text of your own'"]
    if record.test is None:
        next_lines.append(f"muka-fast evaluate {folder} -d LABELLED_FILE   # accuracy by class")
    if record.training is not None:
        next_lines.append(f"muka-fast export {folder} {shlex.quote(output + '-onnx')}   # a graph to serve")
    next_lines.append(f"open {Path(output) / 'report.html'} in a browser")
    if record.selection.reliability is not None and record.selection.reliability.in_doubt:
        next_lines.append(f"muka-fast ask {folder} -n 50   # texts whose labels would help most")
    print("next:", *next_lines, sep="\n  ", file=sys.stderr)
    print(output)
