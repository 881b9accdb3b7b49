"""A teacher's last linear layer: what it reads of each text, shrunk to few dimensions, and its logits in fp32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muka_fast.uncertainty.encoders import Linear

DIMENSIONS = 64


def classifier_layer(model: Any) -> nn.Linear | None:
    """Return the last linear layer with as many outputs as classes, None if the head is of another kind."""
    layers = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear) and module.out_features == model.config.num_labels
    ]
    return layers[-1] if layers else None


@contextmanager
def classifier_input(model: Any) -> Iterator[list[Tensor]]:
    """Collect what the classifier layer is given; one entry a forward pass.

    Models that classify every token, or whose head is of another kind, leave the list empty.
    """
    seen: list[Tensor] = []
    layer = classifier_layer(model)

    def keep(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if inputs[0].dim() == 2:
            seen.append(inputs[0])

    handle = None if layer is None else layer.register_forward_pre_hook(keep)
    try:
        yield seen
    finally:
        if handle is not None:
            handle.remove()


@contextmanager
def fp32_classifier(model: Any) -> Iterator[None]:
    """Hold the classifier layer of a model in low precision at fp32, from what it reads to what it gives."""
    layer = classifier_layer(model)

    def again(module: nn.Linear, inputs: tuple[Tensor, ...], _: Tensor) -> Tensor:
        return Linear(module.weight, module.bias).in_fp32(inputs[0])

    low = layer is not None and layer.weight.dtype in (torch.float16, torch.bfloat16)
    handle = layer.register_forward_hook(again) if layer is not None and low else None
    try:
        yield
    finally:
        if handle is not None:
            handle.remove()


@lru_cache(maxsize=8)
def _projection(width: int, device: torch.device) -> Tensor:
    """Return the matrix that shrinks features of this width, (width, 64)."""
    matrix = np.random.Generator(np.random.Philox(0)).standard_normal((width, DIMENSIONS)) / np.sqrt(DIMENSIONS)
    return torch.from_numpy(matrix.astype(np.float32)).to(device)


def random_projection(features: Tensor) -> np.ndarray:
    """Project (N, D) features to at most 64 dimensions by a fixed Gaussian matrix.

    Distances survive within some per cent (Johnson–Lindenstrauss), and the store stays small.
    """
    features = features.float()
    width = features.shape[1]
    if width > DIMENSIONS:
        features = features @ _projection(width, features.device)
    return features.cpu().numpy()
