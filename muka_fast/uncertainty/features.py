"""The last linear layer of a teacher: its inputs as features in few dimensions, and its logits in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muka_fast.uncertainty.encoder_parts import Linear

DIMENSIONS = 64
"""Largest width of the stored features."""


def classifier_layer(model: Any) -> nn.Linear | None:
    """Return the last linear layer with one output per class, or None if the model has no such layer."""
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
    ]
    return layers[-1] if layers else None


@contextmanager
def classifier_input(model: Any) -> Iterator[list[Tensor]]:
    """Collect the inputs of the classifier layer, (B, width), one entry per forward pass.

    The list stays empty for models without such a layer, and for models that classify every token.
    """
    inputs_seen: list[Tensor] = []
    layer = classifier_layer(model)

    def collect(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].dim() == 2:
            inputs_seen.append(inputs[0])

    handle = None if layer is None else layer.register_forward_pre_hook(collect)
    try:
        yield inputs_seen
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def fp32_classifier(model: Any) -> Iterator[None]:
    """Compute the classifier layer of a low-precision model in fp32, so that its logits are not rounded."""
    layer = classifier_layer(model)

    def recompute(module: nn.Linear, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        return Linear(module.weight, module.bias).in_fp32(inputs[0])

    low = layer is not None and layer.weight.dtype in (torch.float16, torch.bfloat16)
    handle = layer.register_forward_hook(recompute) if layer is not None and low else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


@lru_cache(maxsize=8)
def _projection(width: int, device: torch.device) -> Tensor:
    """Return the fixed Gaussian matrix for features of this width, (width, 64)."""
    matrix = np.random.Generator(np.random.Philox(0)).standard_normal((width, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    return torch.from_numpy(matrix.astype(np.float32)).to(device)


def random_projection(features: Tensor) -> np.ndarray:
    """Project (N, D) features to at most 64 dimensions by a fixed Gaussian matrix.

    Distances are preserved within a few per cent (Johnson and Lindenstrauss 1984), and the store stays small.
    """
    features = features.float()
    width = features.shape[1]
    if width > DIMENSIONS:
        features = features @ _projection(width, features.device)
    return features.cpu().numpy()
