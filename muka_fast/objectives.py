"""Losses of the student."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import log_softmax


def distillation_loss(logits: Tensor, targets: Tensor, importance: Tensor | None = None) -> Tensor:
    """Mean over the batch of importance · KL(target ‖ student).

    Args:
        logits: The student's, (B, C), any float type; computed in fp32.
        targets: Distributions, (B, C), zeros allowed.
        importance: Weight of each text, (B,); None means one.

    Returns:
        A scalar. Weights are not renormalised (as in the authors' code, lancopku/MUKI).
    """
    targets = targets.float()
    cross = -(targets * log_softmax(logits.float(), dim=-1)).sum(-1)
    divergence = cross - torch.special.entr(targets).sum(-1)
    if importance is not None:
        divergence = divergence * importance
    return divergence.mean()
