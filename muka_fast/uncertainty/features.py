"""What a teacher's classifier reads of each text: the input of its last linear layer, shrunk to few dimensions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

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


def shrink(features: Tensor) -> np.ndarray:
    """Project (N, D) features to at most 64 dimensions by a fixed Gaussian matrix.

    Distances survive within some per cent (Johnson–Lindenstrauss), and the store stays small.
    """
    features = features.float()
    width = features.shape[1]
    if width > DIMENSIONS:
        matrix = np.random.Generator(np.random.Philox(0)).standard_normal((width, DIMENSIONS)) / np.sqrt(DIMENSIONS)
        features = features @ torch.from_numpy(matrix.astype(np.float32)).to(features.device)
    return features.cpu().numpy()
