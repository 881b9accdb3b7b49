"""The whole run, in order: teachers, label space, texts, scores, selection, student, metrics, record."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any, overload

from muka_fast.config.portable import portable_recipe
from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import StudentSpec
from muka_fast.distillation.method import require_single_process
from muka_fast.errors import RecipeError
from muka_fast.evaluation.html_report import report_page
from muka_fast.evaluation.model_card import model_card
from muka_fast.evaluation.run_record import RunRecord
from muka_fast.evaluation.selection_stats import selection_stats
from muka_fast.evaluation.tables import fidelity_line
from muka_fast.inference.base import TextClassifier
from muka_fast.inference.predictions import Calibration
from muka_fast.models.teacher import models_of
from muka_fast.pipeline.calibrate import calibrate, measure_reference
from muka_fast.pipeline.evaluate import measure
from muka_fast.pipeline.inputs import LabelledInput, ModelInput, Teachers, TextInput, recipe_of_inputs
from muka_fast.pipeline.plan import Plan, log_plan, resolve_recipe
from muka_fast.pipeline.result import Result
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.pipeline.similar_labels import find_similar_labels
from muka_fast.pipeline.stages import (
    build_pool,
    build_record,
    fill_scores,
    locked_store,
    log_truncation,
    select,
    too_few_texts,
    train,
    training_record,
)
from muka_fast.runtime.arrays import save_arrays
from muka_fast.runtime.device import choose_device
from muka_fast.runtime.distributed import DistributedContext, init_distributed
from muka_fast.runtime.launch import read_launch
from muka_fast.runtime.library_messages import quiet_libraries
from muka_fast.runtime.memory import free_memory
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import PoolScores
from muka_fast.selection.ensemble import Ensemble
from muka_fast.selection.in_domain import (
    MODEL_FILE,
)


@quiet_libraries()
def score(recipe: Recipe, *, wait: bool = False, progress: Progress | None = None) -> tuple[Path, PoolScores]:
    """Fill the score store of a recipe; resume where an earlier run stopped.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python.
        wait: Wait for another run that writes to the same folders, instead of raising.
        progress: Receives messages; default stderr.

    Returns:
        The store's folder, and the signals in it.

    Raises:
        MukaError: With what is wrong, where, and how to fix it.
    """
    group = init_distributed(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.is_main_process)
    plan = resolve_recipe(recipe, progress, group)
    log_plan(plan, progress)
    folder = plan.scores(Path(plan.recipe.output))
    with contextlib.ExitStack() as stack:
        if recipe.scores is None:
            run = RunDirectory(plan.recipe.output)
            run.validate(plan.recipe, hint="choose another output or 'scores' folder")
            if group.is_main_process:
                stack.enter_context(run.locked(wait=wait, progress=progress))
        stack.enter_context(locked_store(folder, group, progress, wait=wait))
        scores = fill_scores(plan, plan.corpus, folder, group, progress)
        group.barrier()
    log_truncation(plan, scores, progress)
    return folder, scores


@overload
def amalgamate(
    recipe: Recipe, *, overwrite: bool = False, wait: bool = False, progress: Progress | None = None
) -> Result: ...


@overload
def amalgamate(
    *,
    teachers: Teachers,
    texts: TextInput,
    student: ModelInput | StudentSpec,
    output: str | Path | None = None,
    test: LabelledInput | None = None,
    labelled: LabelledInput | None = None,
    overwrite: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Result: ...


@quiet_libraries()
def amalgamate(
    recipe: Recipe | None = None,
    *,
    teachers: Teachers | None = None,
    texts: TextInput | None = None,
    student: ModelInput | StudentSpec | None = None,
    output: str | Path | None = None,
    test: LabelledInput | None = None,
    labelled: LabelledInput | None = None,
    overwrite: bool = False,
    wait: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> Result:
    """Merge teachers into one student over the union of their labels: those of a recipe, or those given.

    An interrupted run resumes when called again with the same recipe, or the same arguments, and inputs.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python. Without it give teachers, texts and student.
        teachers: Two or more, in a list or by name: folders, hub ids, sections of a recipe, pairs of a loaded model and
            its tokenizer, or transformers pipelines. Models in memory are saved beside the output.
        texts: A list, array, Series or column of strings or of pairs of strings, a table with a column of texts, or a
            file. Texts in memory are written beside the output.
        student: The model to train, in the same forms as a teacher.
        output: Folder to write; default: a temporary one, which lives as long as the result. What was in memory is
            written to ``OUTPUT-inputs``.
        test: A file of labelled texts, or (texts, labels): measures the result.
        labelled: The same: corrects the choice of teachers; a text without a label is left out.
        overwrite: Discard an earlier run in the output folder; an unfinished one of the same recipe and inputs resumes.
        wait: Wait for another run that writes to the same folders, instead of raising.
        progress: Receives messages; default stderr.
        **settings: Other keys of a recipe, such as ``training={"epochs": 3}`` or ``selection="muka"``.

    Raises:
        MukaError: With what is wrong, where, and how to fix it.
        TypeError: If neither a recipe nor teachers, texts and student are given, or both.
    """
    inputs = {"teachers": teachers, "texts": texts, "student": student}
    others = {"output": output, "test": test, "labelled": labelled, **settings}
    if recipe is not None:
        given = [name for name, value in (inputs | others).items() if value is not None]
        if given:
            raise TypeError(f"a recipe and {given[0]!r}: write it into the recipe, or give no recipe")
        return _run(recipe, overwrite, wait, progress)
    if "data" in settings:
        raise TypeError("give 'texts', not 'data'")
    absent = [name for name, value in inputs.items() if value is None]
    if absent:
        raise TypeError(f"give a recipe, or teachers, texts and student: {absent[0]!r} is missing")
    if output is not None:
        return _run(recipe_of_inputs(Path(output), inputs, others), overwrite, wait, progress)
    if read_launch().world_size > 1:
        raise RecipeError("several processes need one folder", where="output", hint="give output='FOLDER'")
    base = tempfile.mkdtemp(prefix="muka-fast-")
    try:
        result = _run(recipe_of_inputs(Path(base) / "student", inputs, others), overwrite, wait, progress)
    except BaseException:
        shutil.rmtree(base, ignore_errors=True)
        raise
    weakref.finalize(result, shutil.rmtree, base, ignore_errors=True)
    return result


def _run(recipe: Recipe, overwrite: bool, wait: bool, progress: Progress | None) -> Result:
    """Run a recipe in its output folder."""
    group = init_distributed(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.is_main_process)
    require_single_process(recipe.selection, group.world_size)
    with progress.stage("checking"):
        plan = resolve_recipe(recipe, progress, group)
    run = RunDirectory(plan.recipe.output)
    plan.is_outdated(overwrite=overwrite)
    group.barrier()  # every process has read the folder before one changes it
    with contextlib.ExitStack() as stack:
        if group.is_main_process:
            run.clean_finished()
            run.validate(plan.recipe, overwrite=overwrite, hint=plan.overwrite_hint)
            stack.enter_context(run.locked(wait=wait, progress=progress))
            outdated = plan.is_outdated(overwrite=overwrite)  # another run may have been here until now
            if run.start_or_resume(plan.recipe, overwrite=overwrite, outdated=outdated, wait=wait):
                progress.log(f"resuming the unfinished run in {run.path}")
            stack.enter_context(run.adding_up(progress.seconds))
        group.barrier()
        log_plan(plan, progress)
        return Result(run.path, _amalgamate(plan, run, group, progress, wait=wait), recipe.device)


def _amalgamate(
    plan: Plan, run: RunDirectory, group: DistributedContext, progress: Progress, *, wait: bool
) -> RunRecord:
    """Run every stage of a plan in a folder that is ready for it; return the record."""
    recipe, store = plan.recipe, plan.scores(run.path)
    with locked_store(store, group, progress, wait=wait):
        with progress.stage("scoring"):
            scores = fill_scores(plan, plan.corpus, store, group, progress)
        log_truncation(plan, scores, progress)
        with progress.stage("selection"):
            pool = build_pool(plan, plan.corpus, scores, store, group, progress)
    if group.is_main_process:
        run.save_seconds(progress.seconds)
    with progress.stage("selection"):
        advice = find_similar_labels(plan.space, recipe.labels, pool.signals)
        if advice.lines:
            progress.log(advice.lines)
        # One process fits the rule: its memory and its time are those of one.
        selection = group.broadcast(select(plan, pool, progress) if group.is_main_process else None)

    classifier: TextClassifier
    student, training = None, None
    if not recipe.selection.trains_student:
        if selection.model is None:
            raise too_few_texts(recipe.selection.title, len(plan.corpus))
        calibration = Calibration(abstain_below=recipe.student.abstain_below)
        rule = plan.method.select
        classifier = Ensemble(
            recipe, models_of(plan.teachers), plan.space, rule, selection.model, plan.device, calibration
        )
    else:
        free_memory()
        with progress.stage("training"):
            trained = train(plan, pool, selection, run, group, progress)
            student, fidelity = calibrate(plan, trained, pool, selection, progress, pool.classes)
            classifier = student
            if fidelity is not None:
                progress.log(fidelity_line(fidelity))
            training = training_record(trained.result, fidelity, measure_reference(plan, trained, student))
            group.barrier()  # every process has read the best checkpoint before it is deleted
        free_memory()

    stats = selection_stats(
        pool,
        selection,
        plan.corpus,
        plan.labels,
        recipe.selection.known_shares,
        quote_texts=recipe.report.quote_texts,
    )
    test = None
    if plan.test is not None:
        with progress.stage("evaluation"):
            test = measure(plan, plan.test, classifier, run.path, group, progress, selection.model, wait=wait)
    record = build_record(
        plan,
        scores,
        selection,
        stats,
        advice.pairs,
        training,
        test,
        classifier.calibration,
        progress.seconds,
        group.world_size,
    )
    if group.is_main_process:
        files = [] if student is None else run.save_student(student.model, student.tokenizer)
        if selection.model is not None:
            save_arrays(run.path / MODEL_FILE, selection.model)
            files.append(MODEL_FILE)
        page = report_page(record, portable_recipe(recipe.model_dump(mode="json")).text)
        record = run.finalize(model_card(record, recipe), page, record, files)
    group.barrier()
    return record
