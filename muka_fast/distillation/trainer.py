"""Train the student on stored targets with transformers' Trainer: no labels, no teacher in memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Sampler
from transformers import (
    EarlyStoppingCallback,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
)
from transformers.integrations import TensorBoardCallback

from muka_fast.config.recipe import TrainingSpec
from muka_fast.data.tokenization import pad_batch
from muka_fast.distillation.checkpointing import (
    is_complete,
    last_checkpoint,
    require_fingerprint,
    training_fingerprint,
)
from muka_fast.distillation.dataset import DistillationSet, LengthGroupedSampler
from muka_fast.distillation.head_init import linear_probe_init
from muka_fast.distillation.losses import DistillationLoss, KLDistillationLoss
from muka_fast.distillation.microbatching import microbatch_tokens, split_into_microbatches
from muka_fast.distillation.training_args import num_training_steps, trainer_arguments
from muka_fast.errors import CheckFailed, RecipeError
from muka_fast.models.student import Student
from muka_fast.runtime.progress import Progress
from muka_fast.uncertainty.features import classifier_input

CPU = torch.device("cpu")
LOSS_MODULE = "muka_fast_objective"


class StudentTrainer(Trainer):
    """A Trainer whose loss is an objective against stored targets; it needs no labels and no teacher.

    Args:
        microbatch_tokens: Padded tokens of a forward and backward pass; gradients of a larger batch are accumulated.
            None for no limit: losses that compare the texts of a batch need it whole, and so do processes that wait
            for each other.
    """

    def __init__(
        self,
        *args: Any,
        loss_fn: DistillationLoss,
        features: list[Tensor],
        microbatch_tokens: int | None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.loss_fn, self.features, self.microbatch_tokens = loss_fn, features, microbatch_tokens
        # Losses are means over a batch: accumulated gradients must be divided by the number of batches.
        self.model_accepts_loss_kwargs = False
        # Without this, evaluation looks for labels to decide whether it can report a loss.
        self.can_return_loss = True

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        data = train_dataset if train_dataset is not None else self.train_dataset
        batch = self.args.per_device_train_batch_size * self.args.world_size
        batches = math.ceil(len(data) / batch)
        steps = max(1, math.ceil(batches / self.args.gradient_accumulation_steps))
        return LengthGroupedSampler(data.lengths, batch, self.args.seed, lambda: self.state.global_step // steps)

    def training_step(self, model: Any, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Forward and backward, part by part: all parts' activations need not be there at once."""
        losses = []
        for part in split_into_microbatches(inputs, self.microbatch_tokens):
            # Losses are means over what they are given, and each text's share of them is its importance.
            weighted = part | {"importance": part["importance"] * (len(part["target"]) / len(inputs["target"]))}
            losses.append(super().training_step(model, weighted, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the objective of a batch."""
        inputs = dict(inputs)
        target, sample_weight = inputs.pop("target"), inputs.pop("importance")
        self.features.clear()
        outputs = model(**inputs)
        features = self.features[-1] if self.features else None
        loss = self.loss_fn(outputs.logits, features, target, sample_weight)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, None, None]:
        """Return the loss of a validation batch; logits are not gathered."""
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None


class _Advance(TrainerCallback):
    """Moves a progress bar."""

    def __init__(self, advance: Callable[[float], None]) -> None:
        self.advance = advance

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(1)


class _LastEvaluation(TrainerCallback):
    """Validates the last weights; transformers 4 does so only where the steps are a multiple of the interval."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step >= state.max_steps:
            control.should_evaluate = True


@dataclass(frozen=True)
class TrainingResult:
    """What training gave.

    Attributes:
        steps: Optimiser steps done.
        best_loss: Validation distillation loss of the kept checkpoint, None without validation.
        history: Trainer's log entries; None where a value is not finite.
    """

    steps: int
    best_loss: float | None
    history: list[dict[str, float | None]]


def _require_sound(student: Student, best: float | None, validated: bool) -> None:
    weights_are_finite = all(bool(parameter.isfinite().all()) for parameter in student.model.parameters())
    if not weights_are_finite or (validated and (best is None or not math.isfinite(best))):
        raise CheckFailed(
            "training diverged: the student's loss or weights are not finite",
            where="training",
            hint="lower training.learning_rate, and start over with --overwrite",
        )


@contextlib.contextmanager
def _joined(student: Student, loss_fn: DistillationLoss, data: DistillationSet) -> Iterator[list[Tensor]]:
    """Make an objective part of the student, for optimiser, device and checkpoints; yield what its classifier reads."""
    with contextlib.ExitStack() as stack:
        features: list[Tensor] = []
        if loss_fn.reads_features:
            features = stack.enter_context(classifier_input(student.model))
            with torch.no_grad():
                student.model(**pad_batch(student.tokenizer, [data[0]["encoding"]], student.model.device))
            if not features:
                raise RecipeError(
                    "the method matches features, and the student's classifier reads no vector a text",
                    where="selection.method",
                    hint="use 'vkd' or 'pool', or another student",
                )
        student.model.add_module(LOSS_MODULE, loss_fn)
        stack.callback(delattr, student.model, LOSS_MODULE)
        yield features


def _log_into(trainer: Trainer, folder: Path) -> None:
    """Have TensorBoard's files written there rather than among the checkpoints."""
    trainer.args.logging_dir = str(folder)  # transformers 4 reads this, 5 the callback's, set from the environment
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = getattr(callback, "logging_dir", None) or str(folder)


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
) -> TrainingResult:
    """Train the student in place, keeping the weights with the best validation loss.

    Args:
        student: Model and tokenizer.
        data: Texts to train on.
        validation: Held-out texts, or None to keep the last weights.
        settings: The recipe's training section; its batch is shared by the processes of a group.
        folder: Checkpoints go here; if it holds one of the same training, that goes on; others are discarded.
        seed: Of the order, the fresh head and the dropout.
        device: Where to train.
        progress: Receives a bar.
        loss_fn: The loss; default: KL divergence from target distributions. Its parameters are trained too.
        logs: Where ``report_to: tensorboard`` writes; default: among the checkpoints.
    """
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    per_device = settings.batch_size // processes
    steps = num_training_steps(settings, len(data))
    if settings.freeze_embeddings:
        student.model.get_input_embeddings().requires_grad_(False)
    arguments = trainer_arguments(settings, folder, seed, device, per_device, steps, validation is not None)
    loss_fn = loss_fn or KLDistillationLoss()
    logs = logs or folder / "logs"

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = pad_batch(student.tokenizer, [item["encoding"] for item in items], CPU)
        batch["target"] = torch.from_numpy(np.stack([item["target"] for item in items]))
        batch["importance"] = torch.tensor([float(item["importance"]) for item in items])
        return batch

    with arguments.main_process_first(local=False):
        if arguments.process_index == 0:
            sets = [data] if validation is None else [data, validation]
            require_fingerprint(folder, logs, training_fingerprint(student, loss_fn, sets, settings, seed), progress)
    last = last_checkpoint(folder)
    if last is None and settings.head == "probe" and student.pretrained and isinstance(loss_fn, KLDistillationLoss):
        linear_probe_init(student, data, device, loss_fn.temperature)
    with (
        _joined(student, loss_fn, data) as features,
        progress.task("training the student", steps, "steps") as advance,
    ):
        callbacks: list[TrainerCallback] = [_Advance(advance)]
        if validation is not None:
            callbacks.append(_LastEvaluation())
            if settings.patience is not None:
                callbacks.append(EarlyStoppingCallback(settings.patience))
        trainer = StudentTrainer(
            model=student.model,
            args=arguments,
            train_dataset=data,
            eval_dataset=validation,
            data_collator=collate,
            callbacks=callbacks,
            loss_fn=loss_fn,
            features=features,
            microbatch_tokens=microbatch_tokens(device, loss_fn, processes),
        )
        trainer.remove_callback(PrinterCallback)
        _log_into(trainer, logs)
        if last is not None and is_complete(last[1], steps, settings.patience):
            best = last[1]["best_model_checkpoint"] or last[0]  # none is best without validation, or if all are NaN
            weights = load_file(folder / Path(best).name / "model.safetensors")
            student.model.load_state_dict(weights, strict=False)  # tied weights are stored once
            trainer.state = TrainerState.load_from_json(str(last[0] / "trainer_state.json"))
        else:
            trainer.train(resume_from_checkpoint=None if last is None else str(last[0]))
    # Mixed precision patches the model's forward in place; what is evaluated next must be what is saved.
    trainer.accelerator.unwrap_model(student.model, keep_fp32_wrapper=False)
    state = trainer.state
    _require_sound(student, state.best_metric, validation is not None)
    best_loss = None if state.best_metric is None else float(state.best_metric)
    # JSON has no infinities, and mixed precision logs some where it skips a step.
    history = [
        {key: value if math.isfinite(value) else None for key, value in entry.items()} for entry in state.log_history
    ]
    return TrainingResult(state.global_step, best_loss, history)
