"""The whole run, in order: teachers, label space, texts, scores, selection, student, metrics, record."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from muka_fast.config.recipe import Recipe
from muka_fast.distillation.method import require_single_process
from muka_fast.evaluation.html_report import report_page
from muka_fast.evaluation.model_card import model_card
from muka_fast.evaluation.run_record import RunRecord
from muka_fast.evaluation.selection_stats import selection_stats
from muka_fast.evaluation.tables import fidelity_line
from muka_fast.inference.base import TextClassifier
from muka_fast.inference.predictions import Calibration
from muka_fast.pipeline.evaluate import measure
from muka_fast.pipeline.plan import log_plan, resolve_recipe
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.pipeline.stages import (
    build_pool,
    build_record,
    calibrate,
    fill_scores,
    log_truncation,
    select,
    train,
    training_record,
)
from muka_fast.runtime.arrays import save_arrays
from muka_fast.runtime.device import choose_device
from muka_fast.runtime.distributed import init_distributed
from muka_fast.runtime.memory import free_memory
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import PoolScores
from muka_fast.selection.ensemble import Ensemble
from muka_fast.selection.in_domain import (
    MODEL_FILE,
)


@dataclass(frozen=True)
class Result:
    """A finished amalgamation.

    Attributes:
        output: The student's folder.
        record: The content of ``run.json``.
    """

    output: Path
    record: RunRecord


def score(recipe: Recipe, *, progress: Progress | None = None) -> tuple[Path, PoolScores]:
    """Fill the score store of a recipe; resume where an earlier run stopped.

    Returns:
        The store's folder, and the signals in it.
    """
    group = init_distributed(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.is_main_process)
    plan = resolve_recipe(recipe, progress, group)
    log_plan(plan, progress)
    if recipe.scores is None:
        RunDirectory(plan.recipe.output).validate(plan.recipe, hint="choose another output or 'scores' folder")
    folder = plan.scores(Path(plan.recipe.output))
    scores = fill_scores(plan, plan.corpus, folder, group, progress)
    log_truncation(plan, scores, progress)
    return folder, scores


def amalgamate(recipe: Recipe, *, overwrite: bool = False, progress: Progress | None = None) -> Result:
    """Merge the recipe's teachers into one student over the union of their labels.

    An interrupted run resumes when called again with the same recipe and inputs.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python.
        overwrite: Discard an earlier run in the output folder; an unfinished one of the same recipe and inputs resumes.
        progress: Receives messages; default stderr.

    Raises:
        MukaError: With what is wrong, where, and how to fix it.
    """
    group = init_distributed(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.is_main_process)
    require_single_process(recipe.selection, group.world_size)
    with progress.stage("checking"):
        plan = resolve_recipe(recipe, progress, group)
    recipe = plan.recipe
    run = RunDirectory(recipe.output)
    outdated = plan.is_outdated(overwrite=overwrite)
    group.barrier()  # every process has read the folder before one changes it
    if group.is_main_process and run.start_or_resume(recipe, overwrite=overwrite, outdated=outdated):
        progress.log(f"resuming the unfinished run in {run.path}")
    group.barrier()
    log_plan(plan, progress)

    with progress.stage("scoring"):
        scores = fill_scores(plan, plan.corpus, plan.scores(run.path), group, progress)
    log_truncation(plan, scores, progress)
    with progress.stage("selection"):
        pool = build_pool(plan, plan.corpus, scores, plan.scores(run.path), group, progress)
        selection = select(plan, pool, progress)

    classifier: TextClassifier
    student, training = None, None
    if not recipe.selection.trains_student:
        if selection.model is None:
            raise TypeError(f"{recipe.selection.title} trains no student and fits no model of the pool")
        calibration = Calibration(abstain_below=recipe.student.abstain_below)
        rule = plan.method.select
        classifier = Ensemble(recipe, plan.teachers, plan.space, rule, selection.model, plan.device, calibration)
    else:
        free_memory()
        with progress.stage("training"):
            trained = train(plan, pool, selection, run, group, progress)
            student, fidelity = calibrate(plan, trained)
            classifier = student
            if fidelity is not None:
                progress.log(fidelity_line(fidelity))
            training = training_record(trained.result, fidelity)
            group.barrier()  # every process has read the best checkpoint before it is deleted
        free_memory()

    stats, test = selection_stats(pool, selection, plan.corpus), None
    if plan.test is not None:
        with progress.stage("evaluation"):
            test = measure(plan, plan.test, classifier, run.path, group, progress, selection.model)
    record = build_record(
        plan,
        scores,
        selection,
        stats,
        training,
        test,
        classifier.calibration,
        progress.seconds,
        group.world_size,
    )
    if group.is_main_process:
        if selection.model is not None:
            save_arrays(run.path / MODEL_FILE, selection.model)
        if student is not None:
            run.save_student(student.model, student.tokenizer)
        card, page = model_card(record, recipe.dump()), report_page(record, recipe.dump())
        run.finalize(card, page, record.dump())
    group.barrier()
    return Result(run.path, record)
