"""Commands that take a recipe."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from muka_fast.cli.app import command, print_json, print_summary, print_table
from muka_fast.cli.flags import JsonOption, OverwriteOption, RecipeOptions, WaitOption
from muka_fast.cli.options import with_option_groups
from muka_fast.cli.streams import announce_torch, dump_json
from muka_fast.errors import OutputError, RecipeError
from muka_fast.runtime.launch import read_launch

if TYPE_CHECKING:
    from muka_fast.models.teacher import AnyTeacher
    from muka_fast.pipeline.estimate import CostEstimate, TeacherEstimate
    from muka_fast.pipeline.plan import Plan
    from muka_fast.pipeline.similar_labels import LabelAdvice


@command
def init(
    path: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.yaml"),
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON Schema of recipes, for editors; write nothing.")
    ] = False,
) -> None:
    """Write a commented recipe."""
    if schema:
        from muka_fast.config.recipe import Recipe

        print(dump_json(Recipe.json_schema(), indent=2))
        return
    from muka_fast.config.loading import template

    if path.exists():
        raise OutputError("the file exists", where=str(path), hint="give another name")
    try:
        path.write_text(template(), encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError("no such folder", where=str(path.parent), hint="make it, or give another name") from None
    print(path)


@command
@with_option_groups()
def check(options: RecipeOptions, overwrite: OverwriteOption = False, as_json: JsonOption = False) -> None:
    """Resolve everything, train nothing: teachers, label union, texts, dropout sites, time and memory."""
    recipe = options.recipe()
    announce_torch()
    from muka_fast.pipeline.estimate import check as run
    from muka_fast.pipeline.similar_labels import find_similar_labels, stored_signals

    plan, estimate = run(recipe, overwrite=overwrite)
    advice = find_similar_labels(plan.space, plan.recipe.labels, stored_signals(plan))
    if as_json:
        print_json(
            "check",
            labels=list(plan.space.names),
            similar_labels=[pair.model_dump() for pair in advice.pairs],
            label_map=advice.label_map,
            texts=len(plan.corpus),
            device=str(plan.device),
            estimate=asdict(estimate),
        )
    else:
        _print_estimate(plan, estimate, advice)


def _estimate_row(teacher: AnyTeacher, estimate: TeacherEstimate, seconds: str) -> list[str]:
    from muka_fast.models.teacher import Teacher

    labels = str(len(teacher.labels))
    if not isinstance(teacher, Teacher):
        return [teacher.name, labels, teacher.KIND, "–", "–", "–", seconds]
    family = teacher.architecture.removesuffix("ForSequenceClassification")
    return [
        teacher.name,
        labels,
        f"{family}, {teacher.parameters / 1e6:.1f} M",
        str(teacher.max_length),
        f"{estimate.truncated:.1%}",
        f"{estimate.live}/{teacher.all_sites} {estimate.scope}",
        seconds,
    ]


def _print_estimate(plan: Plan, estimate: CostEstimate, advice: LabelAdvice) -> None:
    from muka_fast.runtime.printable import duration

    print(f"label space: {len(plan.space)} classes\n{plan.space.table()}\n")
    if advice.lines:
        print(f"{advice.lines}\n")
    rows = [_estimate_row(t, e, duration(e.seconds)) for t, e in zip(plan.teachers, estimate.teachers, strict=True)]
    print_table("teachers", ["teacher", "labels", "model", "max tokens", "texts cut", "live sites", "scoring"], rows)
    corpus, settings = plan.corpus, plan.recipe.resolved_uncertainty
    print(f"texts: {len(corpus)} ({corpus.empty} empty and {corpus.duplicate} repeated left out)")
    mean = f", on average about {estimate.passes:.1f} per text" if settings.runs_adaptively else ""
    backends = sorted({e.backend for e in estimate.teachers if e.runs_passes})
    run_by = f", by {' and '.join(backends)}" if backends else ""
    passes = f"{settings.passes} passes{mean}" if settings.passes else "one pass without dropout"
    print(f"{passes}, on {plan.device}{run_by}")
    if estimate.training_seconds:
        print(f"training the student: about {duration(estimate.training_seconds)}")
    total = sum(e.seconds for e in estimate.teachers) + estimate.training_seconds
    print(f"total: about {duration(total)}")
    print(f"memory for weights and signals: about {estimate.memory_bytes / 2**20:.0f} MiB")


@command
@with_option_groups()
def amalgamate(
    options: RecipeOptions, overwrite: OverwriteOption = False, wait: WaitOption = False, as_json: JsonOption = False
) -> None:
    """Merge teachers into one student. After an interruption, the same command resumes."""
    recipe = options.recipe()
    announce_torch()
    from muka_fast.pipeline.amalgamate import amalgamate as run

    result = run(recipe, overwrite=overwrite, wait=wait)
    if read_launch().rank:
        return
    if as_json:
        print_json("amalgamate", output=str(result.output), **result.record.model_dump(mode="json"))
        return
    print_summary(result.record, str(result.output))


ShardOption = Annotated[
    str | None, typer.Option("--shard", metavar="I/N", help="Score part I of N, as a job of an array; from 1/N.")
]
EngineOption = Annotated[
    str | None, typer.Option("--engine", help="ray: score in tasks of a Ray cluster (RAY_ADDRESS), or of this machine.")
]
PartsOption = Annotated[int | None, typer.Option("--parts", min=1, help="--engine ray: number of tasks.")]


@command
@with_option_groups(omit=("test", "method", "trust"))
def score(
    options: RecipeOptions,
    shard: ShardOption = None,
    engine: EngineOption = None,
    parts: PartsOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Fill the score store only; `amalgamate` with the same recipe uses it."""
    part = None if shard is None else read_part(shard)
    if engine not in (None, "ray"):
        raise RecipeError(f"no engine is named {engine!r}", where="--engine", hint="ray, or leave it out")
    if engine is not None and part is not None:
        raise RecipeError("--shard and --engine exclude each other", where="command line", hint="give one of them")
    if engine is None and parts is not None:
        raise RecipeError("--parts belongs to --engine ray", where="command line", hint="--shard I/N scores one part")
    recipe = options.recipe()
    started = time.perf_counter()
    announce_torch()
    if part is not None or engine is not None:
        from muka_fast.pipeline.score_parts import score_on_ray, score_part

        folder = score_on_ray(recipe, parts=parts) if part is None else score_part(recipe, *part)
        if as_json:
            seconds = round(time.perf_counter() - started, 3)
            print_json("score", scores=str(folder), part=part and list(part), seconds=seconds)
        else:
            print(folder)
        return
    from muka_fast.pipeline.amalgamate import score as run

    folder, scores = run(recipe, wait=wait)
    seconds = time.perf_counter() - started
    if read_launch().rank:
        return
    if as_json:
        means = [float(signals.predictive_entropy.mean()) for signals in scores.signals]
        print_json(
            "score",
            scores=str(folder),
            texts=len(scores.signals[0]),
            seconds=round(seconds, 3),
            mean_predictive_entropy=means,
        )
    else:
        print(folder)


def read_part(text: str) -> tuple[int, int]:
    """Read ``I/N``, 1 ≤ I ≤ N.

    Raises:
        RecipeError: If the text is nothing of the kind.
    """
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count):
        return int(number), int(count)
    raise RecipeError(f"not a part: {text!r}", where="--shard", hint="I/N from 1/N to N/N, as 2/4")
