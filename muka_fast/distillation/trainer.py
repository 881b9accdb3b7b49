"""Train the student on stored targets with transformers' Trainer: no labels, no teacher in memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations import TensorBoardCallback

from muka_fast.config.recipe import TrainingSpec
from muka_fast.data.tokenization import pad_batch
from muka_fast.distillation.checkpointing import (
    Checkpoint,
    last_checkpoint,
    require_fingerprint,
    training_fingerprint,
)
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.distillation.head_init import linear_probe_init
from muka_fast.distillation.losses import DistillationLoss, KLDistillationLoss
from muka_fast.distillation.microbatching import MICROBATCH_TOKENS, microbatch_tokens
from muka_fast.distillation.student_trainer import (
    AdvanceProgress,
    EvaluateLastWeights,
    SealCheckpoints,
    StudentTrainer,
)
from muka_fast.distillation.training_args import num_training_steps, trainer_arguments
from muka_fast.errors import CheckFailed, RecipeError
from muka_fast.models.student import Student
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.progress import Advance, Progress
from muka_fast.uncertainty.features import classifier_input

CPU = torch.device("cpu")
LOSS_MODULE = "muka_fast_loss"
"""Name under which the loss is a submodule of the student while it is trained."""


@dataclass(frozen=True)
class TrainingResult:
    """Outcome of a training.

    Attributes:
        steps: Optimiser steps done.
        best_loss: Validation distillation loss of the kept checkpoint, None without validation.
        history: Trainer's log entries; None where a value is not finite.
    """

    steps: int
    best_loss: float | None
    history: list[dict[str, float | None]]


@dataclass(frozen=True)
class _Job:
    """A training: inputs, settings, and where it writes."""

    student: Student
    data: DistillationSet
    validation: DistillationSet | None
    loss_fn: DistillationLoss
    settings: TrainingSpec
    arguments: TrainingArguments
    steps: int
    logs: Path
    microbatch_tokens: int | None
    group: DistributedContext

    @property
    def checkpoints(self) -> Path:
        return Path(self.arguments.output_dir)

    def collate(self, items: list[dict[str, Any]]) -> dict[str, Tensor]:
        """Join items of a data set into a padded batch."""
        batch = pad_batch(self.student.padding, [item["encoding"] for item in items], CPU)
        batch["target"] = torch.from_numpy(np.stack([item["target"] for item in items]))
        batch["sample_weight"] = torch.tensor([float(item["sample_weight"]) for item in items])
        return batch


def train_student(
    student: Student,
    data: DistillationSet,
    validation: DistillationSet | None,
    settings: TrainingSpec,
    folder: Path,
    *,
    seed: int,
    device: torch.device,
    progress: Progress,
    loss_fn: DistillationLoss | None = None,
    logs: Path | None = None,
    group: DistributedContext = SINGLE_PROCESS,
    microbatch_limit: int = MICROBATCH_TOKENS,
) -> TrainingResult:
    """Train the student in place, keeping the weights with the best validation loss.

    Args:
        student: Model and tokenizer.
        data: Texts to train on.
        validation: Held-out texts, or None to keep the last weights.
        settings: The recipe's training section; its batch is shared by the processes of the group.
        folder: For checkpoints. A training with the same fingerprint resumes from its last one; others are discarded.
        seed: Of the order, the new head and the dropout.
        device: Where to train.
        progress: Receives a bar.
        loss_fn: The loss; default: KL divergence from target distributions. Its parameters are trained too.
        logs: Where ``report_to: tensorboard`` writes; default: among the checkpoints.
        group: The processes that train together.
        microbatch_limit: Padded tokens of a micro-batch, where batches are split.

    Raises:
        CheckFailed: If a loss or weight is not finite.
        OutputError: If another number of processes made the checkpoints.
        RecipeError: If the loss reads features and the student's classifier reads no vector per text.
    """
    steps = num_training_steps(settings, len(data))
    loss_fn = loss_fn or KLDistillationLoss()
    per_device = settings.batch_size // group.world_size
    job = _Job(
        student,
        data,
        validation,
        loss_fn,
        settings,
        trainer_arguments(settings, folder, seed, device, per_device, steps, validation is not None),
        steps,
        logs or folder / "logs",
        microbatch_tokens(device, loss_fn, group.world_size, limit=microbatch_limit),
        group,
    )
    checkpoint = _resume_or_init(job, seed, device, progress)
    return _check(job, _run(job, checkpoint, progress))


def _resume_or_init(job: _Job, seed: int, device: torch.device, progress: Progress) -> Checkpoint | None:
    """Return the last checkpoint of this training; if there is none, initialise the student's head."""
    student, settings = job.student, job.settings
    if settings.freeze_embeddings:
        student.model.get_input_embeddings().requires_grad_(False)
    with job.arguments.main_process_first(local=False):
        if job.arguments.process_index == 0:
            sets = [job.data] if job.validation is None else [job.data, job.validation]
            fingerprint = training_fingerprint(student, job.loss_fn, sets, settings, seed)
            processes = job.arguments.world_size
            require_fingerprint(job.checkpoints, job.logs, fingerprint, processes, progress)
    checkpoint = last_checkpoint(job.checkpoints)
    wants_probe = checkpoint is None and student.pretrained and settings.head_init == "linear_probe"
    if wants_probe and isinstance(job.loss_fn, KLDistillationLoss):  # other losses' targets are no class distributions
        linear_probe_init(student, job.data, device, job.loss_fn.temperature)
    return checkpoint


def _run(job: _Job, checkpoint: Checkpoint | None, progress: Progress) -> TrainerState:
    """Train from a checkpoint, or load the best weights of one whose training is complete; return the final state."""
    student = job.student
    with (
        _attach_loss(student, job.loss_fn, job.data) as features,
        progress.task("training the student", job.steps, "steps") as advance,
    ):
        trainer = _build_trainer(job, features, advance)
        if checkpoint is not None and checkpoint.is_complete(job.steps, job.settings.patience):
            student.model.load_state_dict(load_file(checkpoint.best_weights), strict=False)  # tied: stored once
            trainer.state = TrainerState.load_from_json(str(checkpoint.path / "trainer_state.json"))
        else:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint.path))
    # Mixed precision patches the model's forward in place; what is evaluated next must be what is saved.
    trainer.accelerator.unwrap_model(student.model, keep_fp32_wrapper=False)
    return trainer.state


def _build_trainer(job: _Job, features: list[Tensor], advance: Advance) -> StudentTrainer:
    callbacks: list[TrainerCallback] = [AdvanceProgress(advance), SealCheckpoints(job.group)]
    if job.validation is not None:
        callbacks.append(EvaluateLastWeights())
        if job.settings.patience is not None:
            callbacks.append(EarlyStoppingCallback(job.settings.patience))
    trainer = StudentTrainer(
        model=job.student.model,
        args=job.arguments,
        train_dataset=job.data,
        eval_dataset=job.validation,
        data_collator=job.collate,
        callbacks=callbacks,
        loss_fn=job.loss_fn,
        features=features,
        microbatch_tokens=job.microbatch_tokens,
    )
    trainer.remove_callback(PrinterCallback)
    _log_into(trainer, job.logs)
    return trainer


@contextlib.contextmanager
def _attach_loss(student: Student, loss_fn: DistillationLoss, data: DistillationSet) -> Iterator[list[Tensor]]:
    """Make a loss a submodule of the student, for optimiser, device and checkpoints.

    Yields:
        The list that receives what the student's classifier reads in each forward pass, if the loss reads it.
    """
    with contextlib.ExitStack() as stack:
        features: list[Tensor] = []
        if loss_fn.reads_features:
            features = stack.enter_context(classifier_input(student.model))
            with torch.no_grad():
                student.model(**pad_batch(student.padding, [data[0]["encoding"]], student.model.device))
            if not features:
                raise RecipeError(
                    "the method matches features, and the student's classifier reads no vector per text",
                    where="selection.method",
                    hint="use 'vkd' or 'pool', or another student",
                )
        student.model.add_module(LOSS_MODULE, loss_fn)
        stack.callback(delattr, student.model, LOSS_MODULE)
        yield features


def _log_into(trainer: Trainer, folder: Path) -> None:
    """Let TensorBoard write into a folder instead of among the checkpoints."""
    trainer.args.logging_dir = str(folder)  # transformers 4 reads this, 5 the callback's, set from the environment
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = getattr(callback, "logging_dir", None) or str(folder)


def _check(job: _Job, state: TrainerState) -> TrainingResult:
    """Return the outcome of a training; refuse one that diverged."""
    best = state.best_metric
    is_finite = all(bool(parameter.isfinite().all()) for parameter in job.student.model.parameters())
    if not is_finite or (job.validation is not None and (best is None or not math.isfinite(best))):
        raise CheckFailed(
            "training diverged: the student's loss or weights are not finite",
            where="training",
            hint="lower training.learning_rate, and start over with --overwrite",
        )
    # JSON has no infinities, and mixed precision logs some where it skips a step.
    history = [
        {key: value if math.isfinite(value) else None for key, value in entry.items()} for entry in state.log_history
    ]
    return TrainingResult(state.global_step, None if best is None else float(best), history)
