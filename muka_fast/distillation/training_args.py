"""Precision, number of steps, and the arguments of transformers' Trainer, from a recipe's training section."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from muka_fast.config.recipe import TrainingSpec
from muka_fast.errors import RecipeError, first_line
from muka_fast.runtime.distributed import DistributedContext

if TYPE_CHECKING:  # the Trainer imports peft, datasets and more, which only a training needs
    from transformers import TrainingArguments

EPOCHS, LEAST_STEPS = 3.0, 1500
"""Default of a recipe: the paper's epochs, but at least this many steps (benchmarks/NOTES.md)."""


def num_training_steps(settings: TrainingSpec, texts: int) -> int:
    """Return the optimiser steps of a training on this many texts."""
    if settings.max_steps is not None:
        return settings.max_steps
    per_epoch = math.ceil(math.ceil(texts / settings.batch_size) / settings.gradient_accumulation)
    if settings.epochs is None:
        return max(LEAST_STEPS, math.ceil(per_epoch * EPOCHS))
    return max(1, math.ceil(per_epoch * settings.epochs))


def autocast_type(settings: TrainingSpec, device: torch.device) -> torch.dtype | None:
    """Return the autocast type of the student's training; None for fp32."""
    wanted: str = settings.precision
    if wanted == "auto":
        cuda = device.type == "cuda"
        half = "bf16" if cuda and torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
        wanted = half if cuda else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(wanted)


def check_settings(settings: TrainingSpec, group: DistributedContext) -> None:
    """Refuse training settings that would fail after the scoring.

    Raises:
        RecipeError: If the batch cannot be shared by the processes, or what ``report_to`` names is not installed.
    """
    if settings.batch_size % group.world_size:
        raise RecipeError(
            f"a batch of {settings.batch_size} cannot be shared by {group.world_size} processes",
            where="training.batch_size",
            hint=f"use a multiple of {group.world_size}",
        )
    missing = _missing_reporter(settings.report_to)
    if missing is not None:
        raise RecipeError(missing, where="training.report_to", hint="install it, or remove it")


def _missing_reporter(names: list[str]) -> str | None:
    """Return why one of the ``report_to`` integrations cannot be used; None if all can."""
    if not names:
        return None
    from transformers.integrations import get_reporting_integration_callbacks

    # Some of the half-made callbacks fail again when they are deleted, which Python would print.
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None
    try:
        for callback in get_reporting_integration_callbacks(names):
            callback()  # looks for its package
    except (ValueError, RuntimeError, ImportError) as error:
        return first_line(error)
    finally:
        sys.unraisablehook = hook
    return None


def trainer_arguments(
    settings: TrainingSpec,
    folder: Path,
    seed: int,
    device: torch.device,
    per_device: int,
    steps: int,
    has_validation: bool,
) -> TrainingArguments:
    """Return the Trainer's arguments.

    Args:
        settings: The recipe's training section.
        folder: For checkpoints.
        seed: Of order and dropout.
        device: Where to train.
        per_device: Texts of a batch in one process.
        steps: Optimiser steps.
        has_validation: Whether texts are held out; the best checkpoint is then kept.
    """
    from transformers import TrainingArguments

    every, half = max(1, math.ceil(steps / settings.evaluations)), autocast_type(settings, device)
    evaluation: dict[str, Any] = {"eval_strategy": "no"}
    if has_validation:
        evaluation = {
            "eval_strategy": "steps",
            "eval_steps": every,
            "load_best_model_at_end": True,
            "metric_for_best_model": "loss",
            "greater_is_better": False,
        }
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=per_device,
        per_device_eval_batch_size=settings.batch_size * (1 if device.type == "cpu" else 4),
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
        restore_callback_states_from_checkpoint=True,
        ddp_timeout=7 * 24 * 3600,
        bf16=half is torch.bfloat16,
        fp16=half is torch.float16,
        **evaluation,
    )
    # With several visible GPUs and no launcher the Trainer would wrap the model in DataParallel, which multiplies the
    # batch by the number of GPUs; no public argument prevents that.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments
