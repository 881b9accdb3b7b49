"""The student: loaded or made from a configuration, and trained on stored targets with transformers' Trainer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    EarlyStoppingCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)
from transformers.trainer_utils import get_last_checkpoint

from muka_fast.checkpoints import check_weights, find_checkpoint, read_config, read_tokenizer, token_limit
from muka_fast.encoding import padded
from muka_fast.errors import ModelError
from muka_fast.objectives import distillation_loss
from muka_fast.progress import Progress
from muka_fast.recipe import StudentSpec, TrainingSpec

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Student:
    """A model to be trained, its tokenizer, and the tokens it reads of a text."""

    model: Any
    tokenizer: Any
    max_length: int
    revision: str | None


def load_student(spec: StudentSpec, names: Sequence[str], seed: int) -> Student:
    """Load the student with a fresh head over ``names``, or build it from its configuration with random weights.

    Raises:
        ModelError: If model, configuration or tokenizer cannot be used.
    """
    head = {
        "num_labels": len(names),
        "id2label": dict(enumerate(names)),
        "label2id": {name: index for index, name in enumerate(names)},
        "problem_type": "single_label_classification",
    }
    source = spec.tokenizer or spec.model
    assert source is not None  # StudentSpec guarantees it
    set_seed(seed)
    if spec.model is not None:
        checkpoint = find_checkpoint(
            spec.model, revision=spec.revision, trust_remote_code=spec.trust_remote_code, role="student"
        )
        check_weights(checkpoint)
        config = read_config(checkpoint)
        config.update(head)
        try:
            model = AutoModelForSequenceClassification.from_pretrained(
                checkpoint.folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                trust_remote_code=spec.trust_remote_code,
            )
        except (RuntimeError, ValueError, OSError, KeyError) as error:
            raise ModelError(
                f"cannot load the student: {str(error).splitlines()[0]}",
                where=checkpoint.where,
                hint="use a model that AutoModelForSequenceClassification loads",
            ) from None
        tokenizer_home = checkpoint if spec.tokenizer is None else find_checkpoint(source, role="tokenizer")
    else:
        tokenizer_home = _tokenizer_home(source)
        model = _from_scratch(str(spec.config), head)
    tokenizer = read_tokenizer(tokenizer_home)
    rows = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > rows:
        raise ModelError(
            f"the tokenizer has {len(tokenizer)} tokens, the model embeds {rows}",
            where=f"student {spec.model or spec.config}",
            hint="use the tokenizer that belongs to the model",
        )
    if model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.pad_token_id
    limit = token_limit(model, tokenizer, spec.max_length)
    return Student(model, tokenizer, limit, tokenizer_home.revision if spec.model else None)


def _tokenizer_home(source: str) -> Any:
    from muka_fast.checkpoints import Checkpoint

    folder = Path(source)
    if folder.is_dir():  # a folder of tokenizer files alone, without config.json, will do
        return Checkpoint(folder, None, f"tokenizer {source}")
    return find_checkpoint(source, role="tokenizer")


def _from_scratch(source: str, head: dict[str, Any]) -> Any:
    try:
        config = AutoConfig.from_pretrained(source, local_files_only=Path(source).exists())
        config.update(head)
        return AutoModelForSequenceClassification.from_config(config)
    except (ValueError, KeyError, OSError) as error:
        raise ModelError(
            f"cannot build the student: {str(error).splitlines()[0]}",
            where=f"student config {source}",
            hint="give a config.json with a model_type transformers knows",
        ) from None


class DistillationSet(Dataset[dict[str, Any]]):
    """Encoded texts with their stored targets and importance."""

    def __init__(self, rows: Sequence[dict[str, list[int]]], targets: np.ndarray, importance: np.ndarray) -> None:
        self.rows, self.targets, self.importance = rows, targets, importance
        self.lengths = np.array([len(row["input_ids"]) for row in rows])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"encoding": self.rows[index], "target": self.targets[index], "importance": self.importance[index]}


class LengthGroupedOrder(Sampler[int]):
    """A random order in which texts of like length stand together, a pure function of seed and epoch.

    Each stretch of 50 batches of a random permutation is sorted by length and its batches shuffled, so a resumed run
    sees the batches the uninterrupted one would have seen.
    """

    def __init__(self, lengths: np.ndarray, batch: int, seed: int, epoch: Callable[[], int]) -> None:
        self.lengths, self.batch, self.seed, self.epoch = lengths, batch, seed, epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        random = np.random.default_rng([self.seed, self.epoch()])
        order = random.permutation(len(self.lengths))
        stretch = 50 * self.batch
        for start in range(0, len(order), stretch):
            part = order[start : start + stretch]
            part = part[np.argsort(-self.lengths[part], kind="stable")]
            whole = len(part) // self.batch * self.batch
            batches = part[:whole].reshape(-1, self.batch)
            yield from random.permutation(batches).reshape(-1).tolist()
            yield from part[whole:].tolist()


class StudentTrainer(Trainer):
    """A Trainer whose loss is the weighted KL divergence from stored targets; it needs no labels and no teacher."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Losses are means over a batch: accumulated gradients must be divided by the number of batches.
        self.model_accepts_loss_kwargs = False
        # Without this, evaluation looks for labels to decide whether it can report a loss.
        self.can_return_loss = True

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        data = train_dataset if train_dataset is not None else self.train_dataset
        batch = self.args.per_device_train_batch_size * self.args.world_size
        batches = math.ceil(len(data) / batch)
        steps = max(1, math.ceil(batches / self.args.gradient_accumulation_steps))
        return LengthGroupedOrder(data.lengths, batch, self.args.seed, lambda: self.state.global_step // steps)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Weighted KL(target ‖ student) of a batch."""
        inputs = dict(inputs)
        target, importance = inputs.pop("target"), inputs.pop("importance")
        outputs = model(**inputs)
        loss = distillation_loss(outputs.logits, target, importance)
        return (loss, outputs) if return_outputs else loss

    def prediction_step(
        self, model: Any, inputs: dict[str, Any], prediction_loss_only: bool, ignore_keys: Any = None
    ) -> tuple[Any, None, None]:
        """Return the loss of a validation batch; logits are not gathered."""
        with torch.no_grad():
            loss = self.compute_loss(model, self._prepare_inputs(inputs))
        return loss.detach(), None, None


class _Bar(TrainerCallback):
    """Moves a progress bar and keeps the loss curve."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.task: Any = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.task = self.progress.task("training the student", state.max_steps, "steps")
        self.advance = self.task.__enter__()
        self.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.advance(1)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.task.__exit__(None, None, None)


@dataclass(frozen=True)
class Training:
    """What training gave.

    Attributes:
        steps: Optimiser steps done.
        best_loss: Validation distillation loss of the kept checkpoint, None without validation.
        history: Trainer's log entries.
    """

    steps: int
    best_loss: float | None
    history: list[dict[str, float]]


def _precision(settings: TrainingSpec, device: torch.device) -> dict[str, bool]:
    wanted: str = settings.precision
    if wanted == "auto":
        half = "bf16" if torch.cuda.is_available() and torch.cuda.is_bf16_supported() else "fp16"
        wanted = half if device.type == "cuda" else "fp32"
    return {"bf16": wanted == "bf16", "fp16": wanted == "fp16"}


def split_validation(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (training, validation) indices; at least one validation text if ``share`` is above zero."""
    order = np.random.default_rng([seed, 1]).permutation(count)
    held = min(count - 1, max(1, round(count * share))) if share > 0 else 0
    return np.sort(order[held:]), np.sort(order[:held])


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
) -> Training:
    """Train the student in place, keeping the weights with the best validation distillation loss.

    Args:
        student: Model and tokenizer.
        data: Texts to train on.
        validation: Held-out texts, or None to keep the last weights.
        settings: The recipe's training section.
        folder: Checkpoints go here; if it holds one, training goes on from it.
        seed: Of the order, the fresh head and the dropout.
        device: Where to train.
        progress: Receives a bar.
    """
    processes = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
    batches = math.ceil(len(data) / (settings.batch_size * processes))
    per_epoch = math.ceil(batches / settings.gradient_accumulation)
    steps = settings.max_steps or max(1, math.ceil(per_epoch * settings.epochs))
    every = max(1, math.ceil(steps / settings.evaluations))
    if settings.freeze_embeddings:
        student.model.get_input_embeddings().requires_grad_(False)
    evaluation: dict[str, Any] = {"eval_strategy": "no"}
    if validation is not None:
        evaluation = {
            "eval_strategy": "steps",
            "eval_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": "loss",
            "greater_is_better": False,
        }
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=4 * settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        max_steps=steps,
        warmup_steps=int(settings.warmup * steps),
        lr_scheduler_type="linear",
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=every,
        report_to=settings.report_to or "none",
        remove_unused_columns=False,
        disable_tqdm=True,
        use_cpu=device.type == "cpu",
        seed=seed % 2**32,
        data_seed=seed % 2**32,
        dataloader_pin_memory=device.type == "cuda",
        **_precision(settings, device),
        **evaluation,
    )

    def collate(items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = padded(student.tokenizer, [item["encoding"] for item in items], CPU)
        batch["target"] = torch.from_numpy(np.stack([item["target"] for item in items]))
        batch["importance"] = torch.tensor([float(item["importance"]) for item in items])
        return batch

    callbacks: list[TrainerCallback] = [_Bar(progress)]
    if validation is not None and settings.patience is not None:
        callbacks.append(EarlyStoppingCallback(settings.patience))
    trainer = StudentTrainer(
        model=student.model,
        args=arguments,
        train_dataset=data,
        eval_dataset=validation,
        data_collator=collate,
        callbacks=callbacks,
    )
    for printer in ("PrinterCallback", "ProgressCallback"):
        trainer.callback_handler.callbacks = [
            callback for callback in trainer.callback_handler.callbacks if type(callback).__name__ != printer
        ]
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if folder.is_dir() else None)
    best = trainer.state.best_metric
    return Training(trainer.state.global_step, None if best is None else float(best), trainer.state.log_history)
