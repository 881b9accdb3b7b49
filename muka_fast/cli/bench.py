"""The command that measures throughput."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from muka_fast.cli.app import command, print_json, print_table
from muka_fast.cli.flags import DataOption, JsonOption, TeacherOption, absolute
from muka_fast.cli.models import device_name, one_of
from muka_fast.cli.options import with_option_groups
from muka_fast.errors import RecipeError

if TYPE_CHECKING:
    from muka_fast.bench.inputs import InputOptions


@dataclass(frozen=True)
class InputFlags:
    """What is measured: the fields of ``muka_fast.bench.inputs.InputOptions``, which needs torch."""

    run: Annotated[
        Path | None, typer.Option("--run", help="Output folder of amalgamate: its teachers, student and texts.")
    ] = None
    teacher: TeacherOption = None
    student: Annotated[str | None, typer.Option("--student", "-s", help="A student's base model, to train.")] = None
    trained: Annotated[str | None, typer.Option("--trained", help="A trained student, to serve.")] = None
    data: DataOption = None
    test: Annotated[list[str] | None, typer.Option("--test", help="Labelled texts, for accuracies.")] = None
    text_column: Annotated[str | None, typer.Option("--text-column")] = None
    label_column: Annotated[str | None, typer.Option("--label-column")] = None
    lengths: Annotated[
        str | None,
        typer.Option("--lengths", metavar="MEAN[,SD]", help="scoring: random texts with this number of tokens."),
    ] = None
    shape: Annotated[
        str | None, typer.Option("--shape", help="scoring: a teacher with random weights, bert-base or minilm.")
    ] = None
    passes: Annotated[int, typer.Option("--passes", min=1, help="Monte-Carlo dropout passes, K.")] = 16
    texts: Annotated[int, typer.Option("--texts", min=2, help="Number of texts.")] = 200
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto"

    def options(self) -> InputOptions:
        """Return the options with absolute paths."""
        from muka_fast.bench.inputs import InputOptions

        def paths(values: list[str] | None) -> tuple[str, ...]:
            return tuple(absolute(value) for value in values or ())

        return InputOptions(
            run=self.run,
            teacher=paths(self.teacher),
            student=self.student and absolute(self.student),
            trained=self.trained and absolute(self.trained),
            data=paths(self.data),
            test=paths(self.test),
            text_column=self.text_column,
            label_column=self.label_column,
            lengths=self.lengths,
            shape=self.shape,
            passes=self.passes,
            texts=self.texts,
            device=device_name(self.device, ("auto", "cpu", "cuda")),
        )


@dataclass(frozen=True)
class RunFlags:
    """How much is measured: the fields of ``muka_fast.bench.runner.RunSettings``."""

    turns: Annotated[int, typer.Option("--repeats", min=1, help="Turns of every case.")] = 5
    seconds: Annotated[
        float, typer.Option("--seconds", help="After three turns, no further turn begins after this time.")
    ] = 180.0
    baseline_texts: Annotated[
        int, typer.Option("--baseline-texts", min=16, help="end-to-end: texts that the MUKI reference runs on.")
    ] = 500
    quick: Annotated[bool, typer.Option("--quick", help="Fewer texts, passes, cases and turns.")] = False


@dataclass(frozen=True)
class ResultFlags:
    """Where results go, and what they are compared with."""

    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write bench.json and tables.md into.")
    ] = None
    plots: Annotated[bool, typer.Option("--plots", help="Draw the suites there too, PNG and SVG.")] = False
    baseline: Annotated[
        Path | None, typer.Option("--compare", metavar="JSON", help="An earlier bench.json: exit 1 if slower.")
    ] = None
    factor: Annotated[
        float, typer.Option("--factor", min=1.0, help="Largest allowed ratio of the time now to the time before.")
    ] = 1.2


@command
@with_option_groups()
def bench(
    inputs: InputFlags,
    run: RunFlags,
    result: ResultFlags,
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE]...",
            help="scoring, pools, training, serving, kernels, scaling, end-to-end.  [default: the first five]",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Measure the speed of scoring, training and serving, beside baselines and the machine's roofline."""
    if inputs.shape is not None:
        one_of(inputs.shape, ("bert-base", "minilm"), "--shape")
    if result.plots and result.output is None:
        raise RecipeError("--plots needs a folder", where="command line", hint="add --output FOLDER")
    from muka_fast.bench import results as files

    earlier = files.read_results(result.baseline) if result.baseline is not None else None
    from muka_fast.bench import runner
    from muka_fast.bench.inputs import from_options
    from muka_fast.runtime.progress import Progress

    measured, log = from_options(inputs.options(), suites or ()), Progress().log
    write = runner.prepare_output(result.output, plots=result.plots)
    names, settings = suites or runner.available_suites(measured, log), runner.RunSettings(**vars(run))
    results = runner.run_suites(measured, names, settings, earlier=earlier, log=log, on_update=write)
    if as_json:
        print_json("bench", **{key: value for key, value in results.items() if key not in ("schema_version", "kind")})
    else:
        _print_suites(results)
    if earlier is not None:
        for line in files.lost_cases(results, earlier):
            print(f"in the earlier results, not measured now: {line}", file=sys.stderr)
        where = str(result.baseline)
        files.require_no_slower(files.compare(results, earlier, where), result.factor, where)


def _print_suites(results: dict[str, Any]) -> None:
    from muka_fast.bench.tables import has_measured_cases, missing_lines, settings_line, suite_table

    for name, suite in results["suites"].items():
        title = f"{name}: {settings_line(suite)}"
        if has_measured_cases(suite):
            print_table(title, *suite_table(name, suite))
        else:
            print(title)
        for line in missing_lines(suite):
            print(f"  {line}")
