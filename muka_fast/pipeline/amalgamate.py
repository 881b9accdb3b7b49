"""The whole run, in order: teachers, label space, texts, scores, selection, student, figures."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.config.recipe import DataSpec, Recipe
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import match_labels
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation.dataset import DistillationSet, split_validation
from muka_fast.distillation.targets import build_targets, require_single_process
from muka_fast.distillation.trainer import Fidelity, TrainingResult, train_student
from muka_fast.errors import ModelError, RecipeError
from muka_fast.evaluation.calibration import ENOUGH, expected_calibration_error, fit_temperature
from muka_fast.evaluation.html_report import report_page
from muka_fast.evaluation.metrics import (
    ClassificationMetrics,
    SelectionMetrics,
    classification_metrics,
    selection_metrics,
)
from muka_fast.evaluation.selection_stats import block_confusion, risk_coverage, summarise_selection
from muka_fast.evaluation.tables import agreement_line, model_card
from muka_fast.inference.base import TextClassifier
from muka_fast.inference.classifier import Classifier
from muka_fast.inference.predictions import CALIBRATION_KEY, Calibration
from muka_fast.models.student import encoder_fingerprint, load_student
from muka_fast.pipeline.load import open_classifier
from muka_fast.pipeline.plan import (
    Plan,
    log_plan,
    resolve_recipe,
)
from muka_fast.pipeline.run_artifacts import RunArtifacts, method_of, pair_column_of
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.device import Device, choose_device
from muka_fast.runtime.distributed import DistributedContext, init_distributed
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.memory import free_memory
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import PoolScores, collect, score_pool
from muka_fast.scoring.store import ScoreStore
from muka_fast.selection.base import BY_POOL, CHOOSING, Pool, Selection, select_teachers, targets
from muka_fast.selection.ensemble import Ensemble
from muka_fast.selection.mixture import MIXTURE_FILE, TeacherMixture
from muka_fast.selection.text_embeddings import embed


@dataclass(frozen=True)
class Result:
    """A finished amalgamation.

    Attributes:
        output: The student's folder.
        record: What ``run.json`` holds.
    """

    output: Path
    record: dict[str, Any]


def _fill(plan: Plan, corpus: Corpus, folder: Path, group: DistributedContext, progress: Progress) -> PoolScores:
    settings = plan.recipe.uncertainty
    if group.is_main_process:
        ScoreStore(folder, plan.manifest(corpus))
    group.barrier()
    store = ScoreStore(folder, plan.manifest(corpus))
    score_pool(
        plan.teachers,
        corpus,
        store,
        settings,
        seed=plan.recipe.seed,
        device=plan.device,
        progress=progress,
        group=group,
    )
    scores = collect(plan.teachers, corpus, store, settings)
    if scores.audit is not None:
        progress.log(str(scores.audit))
    return scores


def _tell_truncated(plan: Plan, scores: PoolScores, progress: Progress) -> None:
    for teacher, cut in zip(plan.teachers, scores.truncated, strict=True):
        if cut > 0:
            progress.log(f"teacher {teacher.name}: {cut:.1%} of the texts were cut at {teacher.max_length} tokens")


def score(recipe: Recipe, *, progress: Progress | None = None) -> tuple[Path, PoolScores]:
    """Fill the score store of a recipe, going on where an earlier run stopped.

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
    scores = _fill(plan, plan.corpus, folder, group, progress)
    _tell_truncated(plan, scores, progress)
    return folder, scores


def amalgamate(recipe: Recipe, *, overwrite: bool = False, progress: Progress | None = None) -> Result:
    """Merge the recipe's teachers into one student over the union of their labels.

    An interrupted run goes on where it stopped when called again with the same recipe and inputs.

    Args:
        recipe: From :func:`muka_fast.read_recipe` or built in Python.
        overwrite: Discard an earlier run in the output folder; an unfinished one of the same recipe and inputs goes on.
        progress: Where to tell how far the run is; default stderr.

    Raises:
        MukaError: With what is wrong, where, and how to mend it.
    """
    group = init_distributed(choose_device(recipe.device))
    progress = progress or Progress(silent=not group.is_main_process)
    require_single_process(recipe.selection.method, group.world_size)
    with progress.stage("checking"):
        plan = resolve_recipe(recipe, progress, group)
    recipe = plan.recipe
    run = RunDirectory(recipe.output)
    outdated = plan.is_outdated(overwrite=overwrite)
    group.barrier()  # until all have looked
    if group.is_main_process and run.start_or_resume(recipe, overwrite=overwrite, outdated=outdated):
        progress.log(f"going on with the unfinished run in {run.path}")
    group.barrier()
    log_plan(plan, progress)

    with progress.stage("scoring"):
        scores = _fill(plan, plan.corpus, plan.scores(run.path), group, progress)
    _tell_truncated(plan, scores, progress)

    with progress.stage("selection"):
        pool = _pool(plan, plan.corpus, scores)
        trust = select_teachers(pool, recipe.selection)
        if trust.ownership is not None and trust.ownership.views_disagree:
            progress.log("whose text is whose is unsure (two views hardly agree, or few texts): judged text by text")

    classifier: TextClassifier
    student: Classifier | None = None
    training: TrainingResult | None = None
    if recipe.selection.method == "ensemble" and trust.model is not None:
        calibration = Calibration(abstain_below=recipe.student.abstain_below)
        classifier = Ensemble(recipe, plan.teachers, plan.space, trust.model, plan.device, calibration)
    else:
        free_memory()
        with progress.stage("training"):
            student, training = _train(plan, pool, trust, run, progress)
            classifier = student
            group.barrier()  # until all have read the best checkpoint
        free_memory()
    record = _record(plan, scores, trust, training, group)
    record["selection"] = summarise_selection(pool, trust, plan.corpus)
    if plan.test is not None:
        with progress.stage("evaluation"):
            record["test"] = asdict(_evaluate(plan, plan.test, classifier, run.path, group, progress, trust.model))
    record["confidence"] = classifier.calibration._asdict()
    record["seconds"] = {stage: round(value, 2) for stage, value in progress.seconds.items()}
    if group.is_main_process:
        if trust.model is not None:
            trust.model.save(run.path / MIXTURE_FILE)
        if student is not None:
            run.save_student(student.model, student.tokenizer)
        run.finalize(model_card(recipe, plan.space, record), report_page(record, recipe.dump()), record)
    group.barrier()
    return Result(run.path, record)


def _pool(plan: Plan, corpus: Corpus, scores: PoolScores) -> Pool:
    wanted = plan.recipe.selection.method in BY_POOL
    embeddings = embed(plan.recipe.student, corpus) if wanted else None
    return Pool(scores.signals, plan.space, corpus.ids, embeddings)


def _train(
    plan: Plan, pool: Pool, trust: Selection, run: RunDirectory, progress: Progress
) -> tuple[Classifier, TrainingResult]:
    recipe = plan.recipe
    student = load_student(recipe.student, plan.space.names, recipe.seed)
    rows = tokenize(student.tokenizer, plan.corpus, student.max_length).encodings
    learn = build_targets(pool, trust, recipe.selection, student.width)

    def part(pick: np.ndarray) -> DistillationSet:
        return DistillationSet(rows, learn.targets, learn.sample_weight, pick)

    train, held = split_validation(len(plan.corpus), recipe.training.validation_share, recipe.seed)
    training = train_student(
        student,
        part(train),
        part(held) if len(held) else None,
        recipe.training,
        run.checkpoints,
        seed=recipe.seed,
        device=plan.device,
        progress=progress,
        loss_fn=learn.loss_fn,
        logs=run.logs,
    )
    student.tokenizer.model_max_length = student.max_length
    classifier = Classifier(
        student.model.to(plan.device).eval(), student.tokenizer, plan.space.names, student.max_length
    )
    temperature = 1.0
    if recipe.selection.method in CHOOSING:  # the other methods' targets are softened, or no class distributions
        held_out = len(held) >= ENOUGH
        pick = held if held_out else train[:: max(1, len(train) // ENOUGH)]
        texts, goal = plan.corpus.take(pick), learn.targets[pick]
        logits = classifier.logits(texts.texts, texts.pairs)
        if held_out:
            temperature = fit_temperature(logits, goal, learn.sample_weight[pick])
        agreement = Fidelity(float((logits.argmax(1) == goal.argmax(1)).mean()), len(pick), held_out)
        progress.log(agreement_line(asdict(agreement)))
        training = replace(training, agreement=agreement)
    calibration = Calibration(temperature, recipe.student.abstain_below)
    setattr(student.model.config, CALIBRATION_KEY, calibration._asdict())
    return classifier.with_calibration(calibration), training


def _record(
    plan: Plan, scores: PoolScores, trust: Selection, training: TrainingResult | None, group: DistributedContext
) -> dict[str, Any]:
    """Return what ``run.json`` says of a run, figures and times still to come."""
    corpus = plan.corpus
    teachers = [
        {
            "name": teacher.name,
            "model": teacher.spec.model,
            "revision": teacher.spec.revision,
            "fingerprint": teacher.fingerprint,
            "tokenizer": teacher.tokenizer_fingerprint,
            "labels": len(teacher.labels),
            "max_length": teacher.max_length,
            "truncated_share": cut,
            "mean_passes": float(signals.passes.mean()),
            "chosen_share": float((trust.chosen == index).mean()),
            "mean_trust": float(trust.scores[:, index].mean()),
        }
        for index, (teacher, cut, signals) in enumerate(
            zip(plan.teachers, scores.truncated, scores.signals, strict=True)
        )
    ]
    return {
        "schema_version": 1,
        "versions": versions(),
        "device": device_name(plan.device),
        "processes": group.world_size,
        "seed": plan.recipe.seed,
        "texts": {"read": corpus.read, "empty": corpus.empty, "duplicate": corpus.duplicate, "used": len(corpus)},
        "labels": list(plan.space.names),
        "teachers": teachers,
        "encoder": encoder_fingerprint(plan.recipe.student) if trust.model is not None else None,
        "audit": None if scores.audit is None else asdict(scores.audit),
        "mean_importance": float(trust.sample_weight.mean()),
        "training": None if training is None else asdict(training),
    }


@dataclass(frozen=True)
class Evaluation:
    """Metrics on labelled texts.

    Attributes:
        classifier: Whose figures these are: student or ensemble.
        student: Its figures, over texts whose label it knows.
        selection: Teachers, oracle and selection on the same texts; None if the teachers were not asked.
        foreign: Labels the student does not know, with how often they occur; those texts are left out.
        calibration_error: Expected calibration error of its confidence.
        risk_coverage: Share of the texts it is surest of, and its error rate on them.
        block_confusion: Which teachers' classes it takes for which, see :func:`block_confusion`; None if the
            teachers were not asked.
    """

    classifier: str
    student: ClassificationMetrics
    selection: SelectionMetrics | None
    foreign: dict[str, int]
    calibration_error: float
    risk_coverage: list[tuple[float, float]]
    block_confusion: dict[str, Any] | None


def _evaluate(
    plan: Plan | None,
    test: Corpus,
    classifier: TextClassifier,
    folder: Path,
    group: DistributedContext,
    progress: Progress,
    model: TeacherMixture | None,
) -> Evaluation:
    truth, foreign = match_labels(classifier.labels, test.labels or (), where="the labelled texts")
    known = np.flatnonzero(truth >= 0)
    test, truth = test.take(known), truth[known]
    judged, probabilities = None, None
    if plan is not None:
        scores = plan.scores(folder)
        name = hashlib.sha256(json.dumps(plan.manifest(test), sort_keys=True).encode()).hexdigest()[:12]
        store = scores.with_name(f"{scores.name}-test") / name
        pool = _pool(plan, test, _fill(plan, test, store, group, progress))
        trust = select_teachers(pool, plan.recipe.selection, model)
        judged = selection_metrics(pool, trust, truth)
        if classifier.kind == "ensemble":  # its own distributions, without a second pass of the teachers
            probabilities = targets(pool, trust)
    if probabilities is None:
        with progress.task("predicting", len(test), "texts") as advance:
            probabilities = classifier.predict_proba(test.texts, test.pairs, advance)
    predicted = probabilities.argmax(1)
    blocks = None if plan is None else block_confusion(plan.space, truth, predicted)
    confidence, correct = probabilities.max(1), predicted == truth
    error, curve = expected_calibration_error(confidence, correct), risk_coverage(confidence, correct)
    metrics = classification_metrics(truth, predicted, classifier.labels)
    return Evaluation(classifier.kind, metrics, judged, foreign, error, curve, blocks)


def _finished(model: str, progress: Progress) -> RunArtifacts | None:
    """Read a run back; None, and say so, if only its student is still there."""
    try:
        return RunArtifacts.read(model)
    except (ModelError, RecipeError) as error:
        if method_of(model) == "ensemble":
            raise
        progress.log(f"the student alone is measured: {error.what} ({error.where})")
        return None


def evaluate(
    model: str, data: DataSpec, *, teachers: bool = True, device: Device = "auto", progress: Progress | None = None
) -> Evaluation:
    """Measure a classifier on labelled texts and, if it is a muka-fast output, its teachers and their selection too.

    Args:
        model: Folder or hub id.
        data: Labelled texts; of a run, its pair column is the default.
        teachers: Ask the teachers as well, with as many passes as the run used, if all are still there.
        device: Where to compute.
        progress: Where to tell how far it is; default stderr.
    """
    progress = progress or Progress()
    data = data.model_copy(update={"pair_column": data.pair_column or pair_column_of(model)})
    test = read_corpus(data, with_labels=True, distinct=False, log=progress.log)
    classifier = open_classifier(model, device, log=progress.log)
    run = _finished(model, progress) if teachers and method_of(model) is not None else None
    plan, taught, chosen = None, None, torch.device("cpu") if run is None else choose_device(device)
    if run is not None:
        plan, taught = Plan(run.recipe, run.teachers, run.space, test, test, chosen), run.model
        if run.changed:
            progress.log(f"{run.changed} has changed since: the texts are judged as a pool of their own")
            taught = None
    return _evaluate(plan, test, classifier, Path(model), init_distributed(chosen), progress, taught)
