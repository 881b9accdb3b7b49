"""A training batch in parts, their gradients added up: a CPU's memory need not hold all activations at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from muka_fast.distillation.losses import DistillationLoss, distillation_loss

MICROBATCH_TOKENS = 512
"""Padded tokens of a part: larger ones need more memory, smaller ones more time (benchmarks/NOTES.md)."""


def microbatch_tokens(device: torch.device, loss_fn: DistillationLoss | None = None, processes: int = 1) -> int | None:
    """Return how many padded tokens go through the student at once; None for whole batches.

    On CPUs alone. Objectives of features may compare the texts of a batch, and processes that share one must do the
    same number of backward passes.
    """
    splits = device.type == "cpu" and processes == 1 and not (loss_fn is not None and loss_fn.reads_features)
    return MICROBATCH_TOKENS if splits else None


def split_into_microbatches(inputs: dict[str, Any], tokens: int | None) -> list[dict[str, Any]]:
    """Cut a padded batch into parts of at most so many padded tokens, longest texts first, each padded for itself.

    Args:
        inputs: Tensors of one row a text: what the student reads, (B, L), padded on one side, targets and importance.
        tokens: At most these, or one text; None: one part.
    """
    if tokens is None or "attention_mask" not in inputs:
        return [inputs]
    lengths = inputs["attention_mask"].sum(1)
    if len(lengths) * int(lengths.max()) <= tokens:
        return [inputs]
    on_the_right = bool(inputs["attention_mask"][:, 0].all())
    order, found = lengths.argsort(descending=True, stable=True), []
    while len(order):
        longest = int(lengths[order[0]])
        count = min(len(order), max(1, tokens // longest))
        pick, order = order[:count], order[count:]
        real = slice(longest) if on_the_right else slice(-longest, None)
        part = {name: tensor[pick] for name, tensor in inputs.items()}
        read = {name: tensor[:, real] for name, tensor in part.items() if name not in ("target", "importance")}
        found.append(part | read)
    return found


def backward_microbatched(model: Any, batch: dict[str, Tensor], target: Tensor, *, whole: bool = False) -> None:
    """Add up the gradients of a distillation loss as training does, without a Trainer: for what it costs.

    Args:
        model: The student.
        batch: What it reads, each (B, L).
        target: (B, C).
        whole: Take the batch at once.
    """
    for part in split_into_microbatches(batch | {"target": target}, None if whole else microbatch_tokens(model.device)):
        wanted = part.pop("target")
        (len(wanted) / len(target) * distillation_loss(model(**part).logits, wanted)).backward()
