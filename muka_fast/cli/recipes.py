"""Commands that take a recipe."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from muka_fast.cli.app import command, print_json, print_results, print_table
from muka_fast.cli.flags import (
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
    recipe_from_flags,
    recipe_options,
)
from muka_fast.errors import OutputError


@command
def init(path: Annotated[Path, typer.Argument(help="File to write.")] = Path("recipe.yaml")) -> None:
    """Write a commented recipe."""
    from muka_fast.config.loading import template

    if path.exists():
        raise OutputError("the file exists", where=str(path), hint="give another name")
    try:
        path.write_text(template(), encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise OutputError("no such folder", where=str(path.parent), hint="make it, or give another name") from None
    print(path)


@command
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
    from muka_fast.evaluation.tables import duration
    from muka_fast.pipeline.estimate import check as run

    plan, estimate = run(built, overwrite=overwrite)
    if as_json:
        print_json(
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
    print_table("teachers", header, rows)
    total = sum(e.seconds for e in estimate.teachers) + estimate.training_seconds
    corpus = plan.corpus
    print(f"texts: {len(corpus)} ({corpus.empty} empty and {corpus.duplicate} repeated left out)")
    settings = plan.recipe.uncertainty
    few = f", about {estimate.passes:.1f} a text" if settings.runs_adaptively else ""
    print(f"{settings.passes} passes{few}, on {plan.device}")
    trained = duration(estimate.training_seconds) if estimate.training_seconds else ""
    print(f"training the student: about {trained}; " if trained else "", f"in all about {duration(total)}", sep="")
    print(f"memory for weights and signals: about {estimate.memory_bytes / 2**20:.0f} MiB")


@command
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
    from muka_fast.pipeline.amalgamate import amalgamate as run

    result = run(built, overwrite=overwrite)
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        print_json("amalgamate", output=str(result.output), **result.record)
        return
    if "test" in result.record:
        print_results(result.record["test"])
    print(result.output)


@command
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
    from muka_fast.pipeline.amalgamate import score as run

    started = time.perf_counter()
    folder, scores = run(built)
    seconds = time.perf_counter() - started
    if int(os.environ.get("RANK", "0")):
        return
    if as_json:
        means = [float(signals.predictive_entropy.mean()) for signals in scores.signals]
        told = {"scores": str(folder), "texts": len(scores.signals[0]), "seconds": round(seconds, 3)}
        print_json("score", **told, mean_predictive_entropy=means)
    else:
        print(folder)
