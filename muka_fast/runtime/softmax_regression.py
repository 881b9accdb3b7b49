"""Multinomial logistic regression on soft targets, fitted by L-BFGS."""

from __future__ import annotations

import torch
from torch import Tensor


def fit_softmax_regression(
    inputs: Tensor,
    targets: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    l2: float,
    max_iter: int,
    sample_weight: Tensor | None = None,
    constant_input: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Fit softmax(inputs W + b) to distributions: the sum of the cross-entropies plus l2 / 2 · ‖W‖².

    Args:
        inputs: (N, D).
        targets: Distributions, (N, C).
        weight: Start of W, (D, C); not changed.
        bias: Start of b, (C,); not changed. None for no bias.
        l2: Strength of the penalty; b has none.
        max_iter: Iterations of L-BFGS.
        sample_weight: Factor of each cross-entropy, (N,); None means one.
        constant_input: Whether the last column of the inputs is constant; its row of W has no penalty.

    Returns:
        W and b.
    """
    weight = weight.detach().clone().requires_grad_()
    bias = None if bias is None else bias.detach().clone().requires_grad_()
    parameters = [weight] if bias is None else [weight, bias]
    optimizer = torch.optim.LBFGS(parameters, max_iter=max_iter, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = inputs @ weight if bias is None else inputs @ weight + bias
        cross_entropy = -(targets * logits.log_softmax(-1))
        loss = cross_entropy.sum() if sample_weight is None else (sample_weight * cross_entropy.sum(1)).sum()
        loss = loss + l2 / 2 * (weight[:-1] if constant_input else weight).square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return weight.detach(), None if bias is None else bias.detach()
