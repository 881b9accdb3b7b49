"""The Typer application: errors become lines and exit codes, results are printed to stdout."""

from __future__ import annotations

import functools
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from muka_fast import __version__
from muka_fast.errors import MukaError, machine_error

if TYPE_CHECKING:
    from muka_fast.evaluation.run_record import Evaluation

app = typer.Typer(
    name="muka-fast",
    help="Merge fine-tuned text classifiers into one student over all their labels, without labelled data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SCHEMA_VERSION = 2
RESUMABLE = ("amalgamate", "score")
"""Commands that resume after an interruption."""
_state = {"verbose": False}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command. Its errors become lines of what, where and fix, and an exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
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
            known = machine_error(error)
            if known is None:
                raise
            _fail(known)

    return app.command()(guarded)


def _fail(error: MukaError) -> NoReturn:
    if _state["verbose"]:
        traceback.print_exc()
    print(f"error: {error}", file=sys.stderr)
    sys.exit(error.exit_code)


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
) -> None:
    _state["verbose"] = verbose
    if not verbose:
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
        logging.captureWarnings(True)
        logging.getLogger("py.warnings").setLevel(logging.ERROR)


def print_json(kind: str, **fields: Any) -> None:
    """Print one object with its schema version."""
    print(json.dumps({"schema_version": SCHEMA_VERSION, "kind": kind, **fields}, ensure_ascii=False))


def print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    """Print rows under a header."""
    from rich.console import Console

    from muka_fast.evaluation.tables import terminal_table

    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(
        terminal_table(header, rows, title)
    )


def print_results(test: Evaluation) -> None:
    """Print the metrics of an evaluation."""
    from muka_fast.evaluation.tables import calibration_line, percent, result_rows

    rows = [[name, accuracy, note] for name, accuracy, note in result_rows(test)]
    print_table(f"{test.metrics.count} labelled texts", ["", "accuracy", ""], rows)
    print(calibration_line(test))
    if test.unknown_labels:
        count = sum(test.unknown_labels.values())
        print(f"left out: {count} texts of {len(test.unknown_labels)} label(s) outside the label space")
    classes = [
        [one.name, percent(one.precision), percent(one.recall), percent(one.f1), str(one.support)]
        for one in test.metrics.classes
    ]
    print_table(f"{test.classifier}, by class", ["class", "precision", "recall", "F1", "texts"], classes)
