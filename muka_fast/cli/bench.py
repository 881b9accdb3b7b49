"""The command that measures throughput."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from muka_fast.cli.app import command, print_json, print_table
from muka_fast.cli.flags import DataOption, JsonOption, TeacherOption, absolute, data_from_flags
from muka_fast.cli.models import device_name, one_of
from muka_fast.errors import RecipeError


@command
def bench(
    suites: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SUITE]...",
            help="scoring, pools, training, serving, kernels, scaling, end-to-end.  [default: the first five]",
        ),
    ] = None,
    run: Annotated[
        Path | None, typer.Option("--run", help="Output folder of amalgamate: its teachers, student and texts.")
    ] = None,
    teacher: TeacherOption = None,
    student: Annotated[str | None, typer.Option("--student", "-s", help="A student's base model, to train.")] = None,
    trained: Annotated[str | None, typer.Option("--trained", help="A trained student, to serve.")] = None,
    data: DataOption = None,
    test: Annotated[list[str] | None, typer.Option("--test", help="Labelled texts, for accuracies.")] = None,
    text_column: Annotated[str | None, typer.Option("--text-column")] = None,
    label_column: Annotated[str | None, typer.Option("--label-column")] = None,
    lengths: Annotated[
        str | None, typer.Option("--lengths", metavar="MEAN[,SD]", help="scoring: made-up texts of so many tokens.")
    ] = None,
    shape: Annotated[
        str | None, typer.Option("--shape", help="scoring: a made-up teacher, bert-base or minilm.")
    ] = None,
    passes: Annotated[int, typer.Option("--passes", min=1, help="K.")] = 16,
    texts: Annotated[int, typer.Option("--texts", min=2, help="How many texts.")] = 200,
    repeats: Annotated[int, typer.Option("--repeats", min=1, help="Turns of every row.")] = 5,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Three turns done, no further one begins after this.")
    ] = 180.0,
    few: Annotated[int, typer.Option("--few", min=16, help="end-to-end: texts the authors' pipeline runs on.")] = 500,
    quick: Annotated[bool, typer.Option("--quick", help="Few texts, passes, ways and turns.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder to write bench.json and tables.md into.")
    ] = None,
    plots: Annotated[bool, typer.Option("--plots", help="Draw the suites there too, PNG and SVG.")] = False,
    baseline: Annotated[
        Path | None, typer.Option("--compare", metavar="JSON", help="An earlier bench.json: exit 1 if slower.")
    ] = None,
    factor: Annotated[
        float, typer.Option("--factor", min=1.0, help="How many times as long a row may take as before.")
    ] = 1.2,
    as_json: JsonOption = False,
) -> None:
    """Measure scoring, training and serving beside what else one would use, and the machine's limits."""
    if shape is not None:
        one_of(shape, ("bert-base", "minilm"), "--shape")
    if plots and output is None:
        raise RecipeError("--plots needs a folder", where="command line", hint="add --output FOLDER")
    from muka_fast.bench.results import (
        compare,
        gone,
        has_run,
        missing,
        read_results,
        require_no_slower,
        settings_line,
        suite_table,
    )

    before = read_results(baseline) if baseline is not None else None
    from muka_fast.bench import runner
    from muka_fast.bench.inputs import DEMO, Material, of_run
    from muka_fast.bench.writing import prepare_output
    from muka_fast.config.recipe import StudentSpec, TeacherSpec
    from muka_fast.runtime.device import choose_device

    given: dict[str, Any] = {"teachers": (), "student": None, "trained": None, "texts": None, "labelled": None}
    if run is not None:
        given |= of_run(run)
    elif not teacher and not shape and not trained and (DEMO / "run.json").is_file():
        given |= of_run(DEMO)
    if teacher:
        given["teachers"] = tuple(TeacherSpec(model=absolute(model)) for model in teacher)
    if student:
        given["student"] = StudentSpec(model=absolute(student))
    if trained:
        given["trained"] = absolute(trained)
    if data:
        given["texts"] = data_from_flags(data, text_column)
    if test:
        given["labelled"] = data_from_flags(test, text_column, label_column, "test")
    if not (given["teachers"] or shape or trained or suites == ["kernels"]):
        raise RecipeError(
            "no models to measure",
            where="command line",
            hint="--run OUT of amalgamate, or -t TEACHER -t TEACHER -s STUDENT -d TEXTS; 'muka-fast demo' makes some",
        )
    material = Material(
        **given,
        device=choose_device(device_name(device)),
        passes=passes,
        count=texts,
        lengths=None if lengths is None else _lengths(lengths),
        shape=shape,
    )
    keep = prepare_output(output, plots=plots)
    results = runner.run_suites(
        material,
        suites or runner.suites_for(material),
        quick=quick,
        repeats=repeats,
        seconds=seconds,
        few=few,
        before=before,
        keep=keep,
    )
    if as_json:
        print_json("bench", **{key: value for key, value in results.items() if key not in ("schema_version", "kind")})
    else:
        for name, suite in results["suites"].items():
            if has_run(suite):
                print_table(f"{name}: {settings_line(suite)}", *suite_table(name, suite))
            else:
                print(f"{name}: {settings_line(suite)}")
            for line in missing(suite):
                print(f"  {line}")
    if before is not None:
        for line in gone(results, before):
            print(f"in the baseline, not measured now: {line}", file=sys.stderr)
        require_no_slower(compare(results, before, str(baseline)), factor, str(baseline))


def _lengths(told: str) -> tuple[float, float]:
    mean, _, deviation = told.partition(",")
    try:
        found = float(mean), float(deviation or 0)
    except ValueError:
        found = (0.0, 0.0)
    if found[0] < 3 or found[1] < 0:
        raise RecipeError(f"no lengths: {told}", where="--lengths", hint="tokens, 3 or more: 50 or 50,15")
    return found
