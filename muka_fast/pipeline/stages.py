"""The stages of a run: scores, selection, training and the record."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation.dataset import DistillationSet, split_validation
from muka_fast.distillation.targets import DistillationTargets
from muka_fast.errors import CorpusError
from muka_fast.evaluation.drift_record import PoolReference
from muka_fast.evaluation.evaluation_record import Evaluation
from muka_fast.evaluation.run_record import (
    CalibrationRecord,
    Fidelity,
    LossPoint,
    RunRecord,
    SimilarLabels,
    TeacherRecord,
    TextCounts,
    TrainingRecord,
)
from muka_fast.evaluation.selection_record import SelectionStats
from muka_fast.inference.classifier import Classifier
from muka_fast.inference.predictions import Calibration
from muka_fast.models.student import encoder_fingerprint, load_student
from muka_fast.models.teacher import Teacher
from muka_fast.pipeline.plan import Plan
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.environment import device_name, versions
from muka_fast.runtime.files import is_writable, remove_leftovers
from muka_fast.runtime.locks import exclusive
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import WHOLE, Part, PoolScores, ScoringJob, collect, score_pool
from muka_fast.selection.abstention import abstentions, without_abstentions
from muka_fast.selection.base import Pool, Selection
from muka_fast.selection.in_domain import InDomainModel
from muka_fast.selection.in_domain_rule import FEW_TEXTS, ngram_pool
from muka_fast.selection.text_vectors import encoder_spec, read_or_encode

if TYPE_CHECKING:  # the Trainer imports peft, datasets and more, which only a training needs
    from muka_fast.distillation.trainer import TrainingResult


@contextlib.contextmanager
def locked_store(folder: Path, group: DistributedContext, progress: Progress, *, wait: bool) -> Iterator[None]:
    """Let no other run write to a score store, and remove what dead runs left there.

    A store on a read-only file system is not locked: it can be read if it is complete.

    Args:
        folder: Folder of the store.
        group: The processes that share the work; the main process holds the lock.
        progress: Receives messages.
        wait: Wait for another run that writes to the store.

    Raises:
        OutputError: If another run writes to the store and ``wait`` is False.
    """
    if not group.is_main_process:
        yield
        return
    with exclusive(folder, wait=wait, log=progress.log, required=False):
        if is_writable(folder):
            for place in (folder, *folder.glob("teacher-*")):
                remove_leftovers(place)
        yield


def fill_scores(plan: Plan, corpus: Corpus, folder: Path, group: DistributedContext, progress: Progress) -> PoolScores:
    """Fill a score store with the teachers' signals on some texts, and read them back.

    Args:
        plan: The run.
        corpus: The texts.
        folder: Folder of the store; shards that it has are kept.
        group: The processes that share the work.
        progress: Receives messages.
    """
    if group.is_main_process:
        plan.open_store(folder, corpus)
    group.barrier()
    job = _job(plan, corpus, folder, group, progress)
    score_pool(job)
    scores = collect(job)
    if scores.audit is not None:
        progress.log(str(scores.audit))
    return scores


def score_plan_part(plan: Plan, folder: Path, part: Part, progress: Progress) -> int:
    """Fill one part of the pool's score store, and return how many shards the part has.

    Args:
        plan: The run.
        folder: Folder of the store; shards that it has are kept.
        part: Number of the part, from 1, and number of parts.
        progress: Receives messages.
    """
    job = _job(plan, plan.corpus, folder, SINGLE_PROCESS, progress, part)
    score_pool(job)
    return len(job.part_shards)


def _job(
    plan: Plan, corpus: Corpus, folder: Path, group: DistributedContext, progress: Progress, part: Part = WHOLE
) -> ScoringJob:
    store, settings = plan.open_store(folder, corpus), plan.recipe.resolved_uncertainty
    return ScoringJob(plan.teachers, corpus, store, settings, plan.recipe.seed, plan.device, progress, group, part)


def log_truncation(plan: Plan, scores: PoolScores, progress: Progress) -> None:
    """Print which teachers cut texts at their maximum length."""
    for teacher, share in zip(plan.teachers, scores.truncated, strict=True):
        if share > 0:
            progress.log(f"teacher {teacher.name}: {share:.1%} of the texts were cut at {teacher.max_length} tokens")


def build_pool(
    plan: Plan,
    corpus: Corpus,
    scores: PoolScores,
    folder: Path,
    group: DistributedContext,
    progress: Progress,
    fitted: InDomainModel | None = None,
) -> Pool:
    """Join scores with vectors of the texts, if the method reads them: of an encoder or, without one, of n-grams.

    Args:
        plan: The run.
        corpus: The texts.
        scores: The teachers' signals on them.
        folder: Their score store, which keeps the vectors.
        group: The processes that share the work; the main process encodes.
        progress: Receives messages.
        fitted: The selection model of another pool, whose n-grams are used again.
    """
    classes = plan.labels.classes if plan.labels is not None and corpus is plan.corpus else None
    if not plan.method.needs_embeddings:
        return Pool(scores.signals, plan.space, corpus.ids, classes=classes)
    encoder = encoder_spec(plan.recipe)
    if encoder is None:
        return replace(ngram_pool(scores.signals, plan.space, corpus, fitted), classes=classes)
    if group.is_main_process:
        read_or_encode(encoder, corpus, plan.space.names, plan.device, progress, folder)
    group.barrier()
    vectors = read_or_encode(encoder, corpus, plan.space.names, plan.device, progress, folder)
    return Pool(scores.signals, plan.space, corpus.ids, *vectors.of(corpus), classes=classes)


def select_teachers(plan: Plan, pool: Pool, fitted: InDomainModel | None = None) -> Selection:
    """Apply the recipe's selection method; tables of predictions have no weight where they abstain.

    Args:
        plan: The run.
        pool: The scored texts.
        fitted: The selection model of another pool; None to fit one to these texts.
    """
    return without_abstentions(plan.method.select(pool, fitted), abstentions(pool.signals, plan.tables))


def select(plan: Plan, pool: Pool, progress: Progress) -> Selection:
    """Apply the recipe's selection method to the pool; say so if its choice is in doubt."""
    selection = select_teachers(plan, pool)
    if selection.reliability is not None:
        progress.log(str(selection.reliability))
    elif selection.model is not None:
        progress.log("selection: without text vectors, its reliability cannot be estimated")
    correction = None if selection.model is None else selection.model.correction
    if correction is not None:
        progress.log(str(correction))
    return selection


def too_few_texts(title: str, count: int) -> CorpusError:
    """Return the error of a method that needs a fitted selection, for a pool on which none is fitted."""
    return CorpusError(
        f"{count} texts are too few to fit the selection of {title}",
        where="data",
        hint=f"give {FEW_TEXTS} or more, or use method 'muka'",
    )


@dataclass(frozen=True)
class TrainedStudent:
    """A student before its calibration.

    Attributes:
        classifier: The student, uncalibrated.
        result: Steps and losses of the training.
        targets: What the student was trained on, N texts.
        training: Indices of the training texts.
        validation: Indices of the validation texts.
    """

    classifier: Classifier
    result: TrainingResult
    targets: DistillationTargets
    training: np.ndarray
    validation: np.ndarray


def train(
    plan: Plan, pool: Pool, selection: Selection, run: RunDirectory, group: DistributedContext, progress: Progress
) -> TrainedStudent:
    """Train the student on the targets of the selection; resume from the run's last checkpoint."""
    from muka_fast.distillation.trainer import train_student

    recipe = plan.recipe
    student = load_student(recipe.student, plan.space.names, recipe.seed)
    encodings = tokenize(student.tokenizer, plan.corpus, student.max_length, scratch=run.path).encodings
    targets = plan.method.build_targets(pool, selection, student.width)

    def subset(indices: np.ndarray) -> DistillationSet:
        return DistillationSet(encodings, targets.targets, targets.sample_weight, indices)

    labelled = np.zeros(0, dtype=np.int64) if plan.labels is None else plan.labels.rows
    training, validation = split_validation(len(plan.corpus), recipe.training.validation_share, recipe.seed, labelled)
    result = train_student(
        student,
        subset(training),
        subset(validation) if len(validation) else None,
        recipe.training,
        run.checkpoints,
        seed=recipe.seed,
        device=plan.device,
        progress=progress,
        loss_fn=targets.loss_fn,
        logs=run.logs,
        group=group,
    )
    student.tokenizer.model_max_length = student.max_length
    model = student.model.to(plan.device).eval()
    classifier = Classifier(model, student.tokenizer, plan.space.names, student.max_length)
    return TrainedStudent(classifier, result, targets, training, validation)


def training_record(result: TrainingResult, agreement: Fidelity | None, reference: PoolReference) -> TrainingRecord:
    """Return the record of a training; log entries without a loss are left out."""
    points = [
        LossPoint.model_validate({key: value for key, value in entry.items() if key in LossPoint.model_fields})
        for entry in result.history
        if entry.keys() & {"loss", "eval_loss"}
    ]
    return TrainingRecord(
        steps=result.steps, best_loss=result.best_loss, history=points, fidelity=agreement, reference=reference
    )


def build_record(
    plan: Plan,
    scores: PoolScores,
    selection: Selection,
    stats: SelectionStats,
    similar_labels: list[SimilarLabels],
    training: TrainingRecord | None,
    test: Evaluation | None,
    calibration: Calibration,
    seconds: dict[str, float],
    processes: int,
) -> RunRecord:
    """Return the record of a finished run."""
    corpus = plan.corpus
    teachers = [
        TeacherRecord(
            name=teacher.name,
            kind="model" if isinstance(teacher, Teacher) else teacher.KIND,
            model=teacher.spec.source_name,
            revision=teacher.spec.revision,
            fingerprint=teacher.fingerprint,
            tokenizer_fingerprint=teacher.tokenizer_fingerprint if isinstance(teacher, Teacher) else None,
            num_labels=len(teacher.labels),
            max_length=teacher.max_length,
            truncated_share=truncated,
            mean_passes=float(signals.passes.mean()),
            chosen_share=float((selection.chosen == index).mean()),
            mean_trust_score=float(selection.trust_scores[:, index].mean()),
        )
        for index, (teacher, truncated, signals) in enumerate(
            zip(plan.teachers, scores.truncated, scores.signals, strict=True)
        )
    ]
    encoder = encoder_spec(plan.recipe)
    return RunRecord(
        versions=versions(),
        device=device_name(plan.device),
        processes=processes,
        seed=plan.recipe.seed,
        texts=TextCounts(read=corpus.read, empty=corpus.empty, duplicate=corpus.duplicate, used=len(corpus)),
        labels=list(plan.space.names),
        similar_labels=similar_labels,
        teachers=teachers,
        encoder_fingerprint=None if encoder is None or selection.model is None else encoder_fingerprint(encoder),
        audit=scores.audit,
        mean_sample_weight=float(selection.sample_weight.mean()),
        selection=stats,
        training=training,
        test=test,
        calibration=CalibrationRecord(**calibration._asdict()),
        seconds={stage: round(value, 2) for stage, value in seconds.items()},
        files={},  # known once they are written
    )
