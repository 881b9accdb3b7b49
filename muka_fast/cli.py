"""The command line: parse, call one function, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

import functools
import json
import logging
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from muka_fast import __version__
from muka_fast.errors import MukaError, OutputError, RecipeError, machine_error
from muka_fast.flags import (
    AdaptiveOption,
    DataOption,
    DeviceOption,
    InjectOption,
    JsonOption,
    MethodOption,
    OutputOption,
    OverwriteOption,
    PassesOption,
    RecipeArgument,
    ScopeOption,
    SeedOption,
    SetOption,
    StudentOption,
    TeacherOption,
    TestOption,
    TrustOption,
    data_from_flags,
    recipe_from_flags,
    recipe_options,
)

app = typer.Typer(
    name="muka-fast",
    help="Merge fine-tuned text classifiers into one student over all their labels, without labelled data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

SCHEMA_VERSION = 1
_state = {"verbose": False}


def _command(function: Callable[..., None]) -> Callable[..., None]:
    """Register a command; turn its errors into lines of what, where and fix, and the right exit code."""

    @functools.wraps(function)
    def guarded(*args: Any, **kwargs: Any) -> None:
        try:
            function(*args, **kwargs)
        except MukaError as error:
            _fail(error)
        except KeyboardInterrupt:
            command = shlex.join(["muka-fast", *sys.argv[1:]])
            print(f"interrupted; what was done is kept. To go on, run the same command:\n  {command}", file=sys.stderr)
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


def _print_json(kind: str, **fields: Any) -> None:
    print(json.dumps({"schema_version": SCHEMA_VERSION, "kind": kind, **fields}, ensure_ascii=False))


def _print_table(title: str, header: list[str], rows: list[list[str]]) -> None:
    from rich.console import Console

    from muka_fast.report import terminal_table

    Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False).print(
        terminal_table(header, rows, title)
    )


@_command
def init(path: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.yaml")) -> None:
    """Write a commented recipe."""
    from muka_fast.recipe import template

    if path.exists():
        raise OutputError("the file exists", where=str(path), hint="give another name")
    path.write_text(template(), encoding="utf-8")
    print(path)


@_command
def check(
    recipe: RecipeArgument = None,
    teacher: TeacherOption = None,
    student: StudentOption = None,
    data: DataOption = None,
    output: OutputOption = None,
    test: TestOption = None,
    passes: PassesOption = None,
    scope: ScopeOption = None,
    adaptive: AdaptiveOption = None,
    inject_dropout: InjectOption = None,
    method: MethodOption = None,
    trust: TrustOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    assignments: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Resolve everything, train nothing: teachers, label union, texts, dropout sites, time and memory."""
    built = recipe_from_flags(**recipe_options(locals()))
    from muka_fast.checking import check as run
    from muka_fast.report import duration

    plan, estimate = run(built, overwrite=overwrite)
    if as_json:
        _print_json(
            "check",
            labels=list(plan.space.names),
            texts=len(plan.corpus),
            device=str(plan.device),
            estimate=asdict(estimate),
        )
        return
    print(f"label space: {len(plan.space)} classes\n{plan.space.table()}\n")
    rows = [
        [
            t.name,
            str(len(t.labels)),
            t.architecture.removesuffix("ForSequenceClassification"),
            f"{t.parameters / 1e6:.1f} M",
            str(t.max_length),
            f"{e.truncated:.1%}",
            f"{e.live}/{t.all_sites} ({e.scope})",
            e.backend,
            duration(e.seconds),
        ]
        for t, e in zip(plan.teachers, estimate.teachers, strict=True)
    ]
    header = ["teacher", "labels", "model", "weights", "tokens", "texts cut", "live sites", "run by", "scoring"]
    _print_table("teachers", header, rows)
    total = sum(e.seconds for e in estimate.teachers) + estimate.training_seconds
    corpus = plan.corpus
    print(f"texts: {len(corpus)} ({corpus.empty} empty and {corpus.duplicate} repeated left out)")
    settings = plan.recipe.uncertainty
    few = f", about {estimate.passes:.1f} a text" if settings.runs_adaptively else ""
    print(f"{settings.passes} passes{few}, on {plan.device}")
    print(f"training the student: about {duration(estimate.training_seconds)}; in all about {duration(total)}")
    print(f"memory for weights and signals: about {estimate.memory_bytes / 2**20:.0f} MiB")


@_command
def amalgamate(
    recipe: RecipeArgument = None,
    teacher: TeacherOption = None,
    student: StudentOption = None,
    data: DataOption = None,
    output: OutputOption = None,
    test: TestOption = None,
    passes: PassesOption = None,
    scope: ScopeOption = None,
    adaptive: AdaptiveOption = None,
    inject_dropout: InjectOption = None,
    method: MethodOption = None,
    trust: TrustOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    assignments: SetOption = None,
    overwrite: OverwriteOption = False,
    as_json: JsonOption = False,
) -> None:
    """Merge teachers into one student. Interrupted, the same command goes on where it stopped."""
    built = recipe_from_flags(**recipe_options(locals()))
    from muka_fast.pipeline import amalgamate as run

    result = run(built, overwrite=overwrite)
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        _print_json("amalgamate", output=str(result.output), **result.record)
        return
    if "test" in result.record:
        _print_results(result.record["test"])
    print(result.output)


def _print_results(test: dict[str, Any]) -> None:
    from muka_fast.report import percent, result_rows

    rows = [[name, accuracy, remark] for name, accuracy, remark in result_rows(test)]
    _print_table(f"{test['student']['count']} labelled texts", ["", "accuracy", ""], rows)
    if test["foreign"]:
        count = sum(test["foreign"].values())
        print(f"left out: {count} texts of {len(test['foreign'])} label(s) outside the label space")
    classes = [
        [c["name"], percent(c["precision"]), percent(c["recall"]), percent(c["f1"]), str(c["support"])]
        for c in test["student"]["classes"]
    ]
    _print_table("student, by class", ["class", "precision", "recall", "F1", "texts"], classes)


@_command
def score(
    recipe: RecipeArgument = None,
    teacher: TeacherOption = None,
    student: StudentOption = None,
    data: DataOption = None,
    output: OutputOption = None,
    passes: PassesOption = None,
    scope: ScopeOption = None,
    adaptive: AdaptiveOption = None,
    inject_dropout: InjectOption = None,
    seed: SeedOption = None,
    device: DeviceOption = None,
    assignments: SetOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fill the score store only; `amalgamate` with the same recipe uses it."""
    built = recipe_from_flags(**recipe_options(locals()))
    from muka_fast.pipeline import score as run

    folder, scores = run(built)
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        means = [float(signals.predictive_entropy.mean()) for signals in scores.signals]
        _print_json("score", scores=str(folder), texts=len(scores.signals[0]), mean_predictive_entropy=means)
    else:
        print(folder)


@_command
def evaluate(
    model: Annotated[str, typer.Argument(help="A classifier: an output folder of amalgamate, or any other.")],
    data: Annotated[list[str], typer.Option("--data", "-d", help="Labelled texts.")],
    label_column: Annotated[str | None, typer.Option("--label-column")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a hub data set.")] = "test",
    teachers: Annotated[bool, typer.Option(help="Measure the teachers of an amalgamated student too.")] = True,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Accuracy, macro-F1 and a table by class; teachers, oracle and selection too if the recipe is at hand."""
    spec = data_from_flags(data, text_column, label_column, split)
    from muka_fast.pipeline import evaluate as run

    evaluation = asdict(run(model, spec, teachers=teachers, device=_device(device)))
    if as_json:
        _print_json("evaluate", model=model, **evaluation)
    else:
        _print_results(evaluation)


@_command
def predict(
    model: Annotated[str, typer.Argument(help="A classifier: folder or hub id.")],
    texts: Annotated[list[str] | None, typer.Argument(metavar="[TEXT]...", help="Texts to classify.")] = None,
    data: Annotated[list[str] | None, typer.Option("--data", "-d", help="Files of texts, instead.")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    as_json: JsonOption = False,
) -> None:
    """Print label, probability and text, one line a text, in the order given."""
    if bool(texts) == bool(data):
        raise RecipeError(
            "give texts or --data, one of them", where="command line", hint="muka-fast predict MODEL 'hi'"
        )
    from muka_fast.corpus import build_corpus, read_corpus
    from muka_fast.planning import choose_device
    from muka_fast.prediction import Classifier
    from muka_fast.progress import Progress

    if data:
        corpus = read_corpus(data_from_flags(data, text_column), distinct=False, say=Progress().say)
    else:
        corpus = build_corpus(texts or [], distinct=False)
    classifier = Classifier.load(model, choose_device(_device(device)))
    found = classifier.best(corpus)
    if as_json:
        predictions = [
            {"text": text, "label": name, "probability": round(p, 6)}
            for text, (name, p) in zip(corpus.texts, found, strict=True)
        ]
        _print_json("predict", model=model, predictions=predictions)
        return
    for text, (name, p) in zip(corpus.texts, found, strict=True):
        print(name, f"{p:.4f}", " ".join(text.split()), sep="\t")


def _device(name: str) -> Any:
    if name not in ("auto", "cpu", "cuda"):
        raise RecipeError(f"no such device: {name}", where="--device", hint="auto, cpu or cuda")
    return name


@_command
def demo(
    output: Annotated[Path, typer.Argument(help="Folder to work in.")] = Path("muka-demo"),
    seed: Annotated[int, typer.Option("--seed")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make texts and three teachers, amalgamate them, and show the result: offline, in minutes on a laptop."""
    from muka_fast.demo import run

    run(output, seed=seed, overwrite=overwrite)


@_command
def env(as_json: JsonOption = False) -> None:
    """Show versions and devices."""
    from muka_fast.environment import describe

    found = describe()
    if as_json:
        _print_json("env", **found)
    else:
        for key, value in found.items():
            print(f"{key:<14}{value}")


def main() -> None:
    """Run the command line."""
    app()
