"""transformers' Trainer for a loss on stored targets, and its callbacks."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Sampler
from transformers import Trainer, TrainerCallback

from muka_fast.distillation.checkpointing import seal_checkpoint
from muka_fast.distillation.dataset import LengthGroupedSampler
from muka_fast.distillation.losses import DistillationLoss
from muka_fast.distillation.microbatching import split_into_microbatches
from muka_fast.runtime.distributed import DistributedContext
from muka_fast.runtime.progress import Advance


class StudentTrainer(Trainer):
    """A Trainer whose loss compares the student with stored targets; it needs no labels and no teacher.

    Args:
        *args: Of :class:`transformers.Trainer`.
        loss_fn: The loss.
        features: List that receives what the student's classifier reads in each forward pass; empty if the loss does
            not read it.
        microbatch_tokens: Padded tokens of a forward and backward pass; gradients of a larger batch are accumulated.
            None for no limit.
        **kwargs: Of :class:`transformers.Trainer`.
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
        """Accumulate the gradients of the batch's micro-batches, so that only one's activations are in memory."""
        losses = []
        for part in split_into_microbatches(inputs, self.microbatch_tokens):
            # A loss is the mean over its texts: weighted by the part's share, the sum is the mean over the batch.
            weighted = part | {"sample_weight": part["sample_weight"] * (len(part["target"]) / len(inputs["target"]))}
            losses.append(super().training_step(model, weighted, num_items_in_batch))
        return torch.stack(losses).sum()

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of a batch."""
        inputs = dict(inputs)
        target, sample_weight = inputs.pop("target"), inputs.pop("sample_weight")
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


class AdvanceProgress(TrainerCallback):
    """Moves a progress bar, and shows the last losses beside it."""

    def __init__(self, advance: Advance) -> None:
        self.advance = advance
        self._losses: dict[str, float] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Start at the step that the training resumes from."""
        self.advance(state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Advance by one step."""
        self.advance(1)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Show the mean training loss since the last log entry, and the last validation loss."""
        names = {"loss": "loss", "eval_loss": "validation loss"}
        self._losses |= {names[key]: value for key, value in (logs or {}).items() if key in names}
        self.advance(0, ", ".join(f"{name} {value:.3f}" for name, value in self._losses.items()))


class SealCheckpoints(TrainerCallback):
    """Marks each checkpoint as finished, once every process has written its part."""

    def __init__(self, group: DistributedContext) -> None:
        self.group = group

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Seal the checkpoint that was saved."""
        self.group.barrier()
        if self.group.is_main_process:
            seal_checkpoint(Path(args.output_dir) / f"checkpoint-{state.global_step}")


class EvaluateLastWeights(TrainerCallback):
    """Validates the last weights; transformers 4 does so only where the steps are a multiple of the interval."""

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for an evaluation after the last step."""
        if state.global_step >= state.max_steps:
            control.should_evaluate = True
