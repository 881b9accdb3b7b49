"""Gradient accumulation over micro-batches: only the activations of a part of the batch are in memory at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from muka_fast.distillation.losses import DistillationLoss, distillation_loss

MICROBATCH_TOKENS = 512
"""Padded tokens of a micro-batch: larger ones need more memory, smaller ones more time (benchmarks/NOTES.md)."""


def microbatch_tokens(
    device: torch.device,
    loss_fn: DistillationLoss | None = None,
    processes: int = 1,
    *,
    limit: int = MICROBATCH_TOKENS,
) -> int | None:
    """Return how many padded tokens go through the student at once; None for whole batches.

    Batches are split on CPUs only. Losses of features may compare the texts of a batch, and processes that share a
    batch must run the same number of backward passes.

    Args:
        device: Where the student is trained.
        loss_fn: Its loss; default: KL divergence.
        processes: How many train together.
        limit: Padded tokens of a micro-batch, where batches are split.
    """
    splits = device.type == "cpu" and processes == 1 and not (loss_fn is not None and loss_fn.reads_features)
    return limit if splits else None


def split_into_microbatches(inputs: dict[str, Any], tokens: int | None) -> list[dict[str, Any]]:
    """Split a padded batch into micro-batches, longest texts first, each padded to its own longest text.

    Args:
        inputs: Tensors of one row per text: the student's inputs, (B, L), padded on one side, targets and weights.
        tokens: Padded tokens of a micro-batch, or one text if it is longer; None: one micro-batch.
    """
    if tokens is None or "attention_mask" not in inputs:
        return [inputs]
    lengths = inputs["attention_mask"].sum(1)
    if len(lengths) * int(lengths.max()) <= tokens:
        return [inputs]
    on_the_right = bool(inputs["attention_mask"][:, 0].all())
    order, parts = lengths.argsort(descending=True, stable=True), []
    while len(order):
        longest = int(lengths[order[0]])
        count = min(len(order), max(1, tokens // longest))
        indices, order = order[:count], order[count:]
        real = slice(longest) if on_the_right else slice(-longest, None)
        part = {name: tensor[indices] for name, tensor in inputs.items()}
        read = {name: tensor[:, real] for name, tensor in part.items() if name not in ("target", "sample_weight")}
        parts.append(part | read)
    return parts


def backward_microbatched(model: Any, batch: dict[str, Tensor], target: Tensor, *, whole: bool = False) -> None:
    """Accumulate the gradients of a distillation loss as training does, without a Trainer; to measure the cost.

    Args:
        model: The student.
        batch: Its inputs, each (B, L).
        target: Distributions, (B, C).
        whole: Whether not to split the batch.
    """
    for part in split_into_microbatches(batch | {"target": target}, None if whole else microbatch_tokens(model.device)):
        own = part.pop("target")
        (len(own) / len(target) * distillation_loss(model(**part).logits, own)).backward()
