"""Metrics of a classifier, its teachers and their selection on labelled texts."""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from muka_fast.config.specs import DataSpec
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import match_labels, rename_labels
from muka_fast.errors import CorpusError, ModelError, RecipeError
from muka_fast.evaluation.calibration import expected_calibration_error
from muka_fast.evaluation.evaluation_record import Evaluation
from muka_fast.evaluation.metrics import classification_metrics, confused_pairs, selection_metrics
from muka_fast.evaluation.run_record import OtherVersionError
from muka_fast.evaluation.selection_stats import confidence_histogram, group_confusion, risk_coverage
from muka_fast.inference.base import TextClassifier
from muka_fast.pipeline.load import load_classifier
from muka_fast.pipeline.plan import Plan
from muka_fast.pipeline.run_artifacts import RunArtifacts, is_ensemble, label_map_of, pair_column_of
from muka_fast.pipeline.stages import build_pool, fill_scores, locked_store, select_teachers
from muka_fast.runtime.device import Device, choose_device
from muka_fast.runtime.distributed import DistributedContext, init_distributed
from muka_fast.runtime.files import is_writable
from muka_fast.runtime.library_messages import quiet_libraries
from muka_fast.runtime.progress import Progress
from muka_fast.selection.abstention import abstentions
from muka_fast.selection.base import targets
from muka_fast.selection.in_domain import InDomainModel


@quiet_libraries()
def evaluate(
    model: str,
    data: DataSpec,
    *,
    teachers: bool = True,
    device: Device = "auto",
    wait: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure a classifier on labelled texts and, if it is a muka-fast output, its teachers and their selection too.

    Args:
        model: Folder or hub id.
        data: Labelled texts; the default of the pair column is the run's.
        teachers: Measure the teachers too, with as many passes as the run used, if all of them still exist.
        device: Device to compute on.
        wait: Wait for another run that scores the same texts in the same folder, instead of raising.
        trust_remote_code: Run model code that lies beside the classifier's weights.
        progress: Receives messages; default stderr.

    Raises:
        MukaError: If the classifier or the texts cannot be read, or another version of muka-fast wrote the run.
    """
    progress = progress or Progress()
    data = data.model_copy(update={"pair_column": data.pair_column or pair_column_of(model)})
    test = read_corpus(data, with_labels=True, distinct=False, log=progress.log)

    def load() -> TextClassifier:
        return load_classifier(model, device, log=progress.log, trust_remote_code=trust_remote_code)

    return evaluate_corpus(model, test, load, teachers=teachers, device=device, wait=wait, progress=progress)


def evaluate_corpus(
    model: str,
    test: Corpus,
    load: Callable[[], TextClassifier],
    *,
    teachers: bool,
    device: Device,
    wait: bool = False,
    progress: Progress,
) -> Evaluation:
    """Measure a classifier on labelled texts that are in memory; the rest as :func:`evaluate`.

    Args:
        model: Folder or hub id.
        test: Labelled texts.
        load: Returns the classifier; called after the run was read, whose errors name what to do.
        teachers: Measure the teachers too.
        device: Device to compute on.
        wait: Wait for another run that scores the same texts in the same folder, instead of raising.
        progress: Receives messages.
    """
    is_run = any((Path(model) / name).is_file() for name in ("run.json", "recipe.yaml"))
    run = _read_run(model, progress) if teachers and is_run else None
    test = replace(test, labels=rename_labels(test.labels or (), label_map_of(model)))
    classifier = load()
    chosen = torch.device("cpu") if run is None else choose_device(device)
    plan, fitted = None, None
    if run is not None:
        plan, fitted = Plan(run.recipe, run.teachers, run.space, test, test, chosen), run.model
        if run.changed:
            progress.log(f"{run.changed} has changed since the run: fitting the selection to these texts instead")
            fitted = None
    return measure(plan, test, classifier, Path(model), init_distributed(chosen), progress, fitted, wait=wait)


def _read_run(model: str, progress: Progress) -> RunArtifacts | None:
    """Read a finished run; None, with a message, if a teacher or the record is missing."""
    try:
        return RunArtifacts.read(model)
    except OtherVersionError as error:
        hint = "amalgamate again, or evaluate the student alone with --no-teachers"
        raise ModelError(error.what, where=error.where, hint=hint) from None
    except (CorpusError, ModelError, RecipeError) as error:
        if is_ensemble(model):
            raise
        progress.log(f"measuring the student alone: {error.what} ({error.where})")
        return None


def measure(
    plan: Plan | None,
    test: Corpus,
    classifier: TextClassifier,
    folder: Path,
    group: DistributedContext,
    progress: Progress,
    fitted: InDomainModel | None,
    *,
    wait: bool = False,
) -> Evaluation:
    """Measure a classifier on labelled texts.

    Args:
        plan: The run, to measure teachers and selection too; None for the classifier alone.
        test: Labelled texts.
        classifier: The classifier.
        folder: Output folder of the run.
        group: The processes that share the work.
        progress: Receives messages.
        fitted: The run's selection model; None to fit one to these texts.
        wait: Wait for another run that scores the same texts in the same folder, instead of raising.
    """
    truth, unknown = match_labels(classifier.labels, test.labels or (), where="the labelled texts")
    known = np.flatnonzero(truth >= 0)
    test, truth = test.take(known), truth[known]
    selected, confusion, probabilities = None, None, None
    if plan is not None:
        with _test_store(plan, test, folder, group, progress, wait=wait) as store:
            scores = fill_scores(plan, test, store, group, progress)
            pool = build_pool(plan, test, scores, store, group, progress, fitted)
        selection = select_teachers(plan, pool, fitted)
        if fitted is None and selection.model is not None:
            progress.log("the selection measured is fitted to these texts: the run's pool was too small to fit one")
        abstains = abstentions(pool.signals, plan.tables)
        for teacher, absent in zip(plan.teachers, abstains.sum(0), strict=True):
            if absent:
                progress.log(f"teacher {teacher.name}: no prediction for {absent} of {len(test)} labelled texts")
        selected = selection_metrics(pool, selection, truth, ~abstains)
        if classifier.kind == "ensemble":  # its prediction is the weighted teachers: no second pass is needed
            probabilities = targets(pool, selection)
    if probabilities is None:
        with progress.task("predicting", len(test), "texts") as advance, test.locating_errors():
            probabilities = classifier.predict_proba(test.texts, test.pairs, advance)
    predicted = probabilities.argmax(1)
    if plan is not None:
        confusion = group_confusion(plan.space, truth, predicted)
    confidence, correct = probabilities.max(1), predicted == truth
    return Evaluation(
        classifier=classifier.kind,
        metrics=classification_metrics(truth, predicted, classifier.labels),
        selection=selected,
        unknown_labels=unknown,
        expected_calibration_error=expected_calibration_error(confidence, correct),
        risk_coverage=risk_coverage(confidence, correct),
        group_confusion=confusion,
        confused=confused_pairs(truth, predicted, classifier.labels),
        confidence=confidence_histogram(confidence, correct),
    )


@contextlib.contextmanager
def _test_store(
    plan: Plan, test: Corpus, folder: Path, group: DistributedContext, progress: Progress, *, wait: bool
) -> Iterator[Path]:
    """Lock and yield the score store of labelled texts: beside the run's store, named by the hash of its manifest.

    Where that place cannot be written, the store is a temporary folder.
    """
    name = hashlib.sha256(json.dumps(plan.manifest(test), sort_keys=True).encode()).hexdigest()[:12]
    scores = plan.scores(folder)
    store = scores.with_name(f"{scores.name}-test") / name
    with contextlib.ExitStack() as stack:
        if group.world_size == 1 and not is_writable(store):
            progress.log(f"cannot write to {folder}: the teachers' scores go to a temporary folder")
            store = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="muka-fast-")))
        stack.enter_context(locked_store(store, group, progress, wait=wait))
        yield store
