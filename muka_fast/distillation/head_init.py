"""The linear probe that a student's new head starts from (LP-FT, Kumar et al. 2022, arXiv 2202.10054).

The last layer is fitted to the training targets before the rest is trained. A head of random weights moves slowly at
the learning rates that pretrained encoders need; with few texts and many classes that takes most of a training.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from muka_fast.data.batching import TOKEN_BUDGET, token_batches
from muka_fast.data.encodings import TokenizedText
from muka_fast.data.tokenization import pad_batch
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.models.student import Student
from muka_fast.runtime.softmax_regression import fit_softmax_regression
from muka_fast.uncertainty.features import classifier_input, classifier_layer

TEXTS, ITERATIONS = 10_000, 60
PENALTY = 1e-2
"""L2 penalty beside the mean loss, for features of root mean square 1.

The features are not standardised one by one: a feature that varies little would get large weights, and the first steps
of training would move the logits far.
"""


def linear_probe_init(student: Student, data: DistillationSet, device: torch.device, temperature: float = 1.0) -> bool:
    """Fit a student's last layer to target distributions on at most 10,000 texts; its other weights do not change.

    Args:
        student: Its model is moved to the device.
        data: Texts with target distributions over its classes.
        device: Where to compute.
        temperature: T of the loss: softmax(logits / T) is fitted to the targets.

    Returns:
        Whether the layer was fitted: False if the head has no linear last layer that reads one vector per text, or if
        all sample weights are zero.
    """
    layer = classifier_layer(student.model)
    indices = np.linspace(0, len(data) - 1, min(len(data), TEXTS)).round().astype(int)
    items = data.__getitems__(indices.tolist())
    sample_weight = torch.tensor([float(item["sample_weight"]) for item in items], device=device)
    if layer is None or not sample_weight.any():
        return False
    features = _features(student, [item["encoding"] for item in items], data.lengths[indices], device)
    if features is None:
        return False
    targets = torch.from_numpy(np.stack([item["target"] for item in items])).to(device)
    weight, bias = fit_probe(features, targets, sample_weight, fit_bias=layer.bias is not None)
    with torch.no_grad():
        layer.weight.copy_(temperature * weight.T)
        if layer.bias is not None:
            layer.bias.copy_(temperature * bias)
    return True


def _features(
    student: Student, encodings: Sequence[TokenizedText], lengths: np.ndarray, device: torch.device
) -> Tensor | None:
    """Return what the classifier layer reads of each text, (N, D); None if it does not read one vector per text."""
    model = student.model.to(device).eval()
    result: Tensor | None = None
    with torch.no_grad(), classifier_input(model) as seen:
        for batch in token_batches(lengths, np.arange(len(encodings), dtype=np.uint64), TOKEN_BUDGET[device.type]):
            model(**pad_batch(student.padding, [encodings[index] for index in batch], device))
            if not seen:
                return None
            if result is None:
                result = torch.empty(len(encodings), seen[-1].shape[1], device=device)
            result[batch] = seen[-1].float()
            seen.clear()
    return result


def fit_probe(features: Tensor, targets: Tensor, sample_weight: Tensor, *, fit_bias: bool) -> tuple[Tensor, Tensor]:
    """Fit softmax(features W + b) to distributions by the weighted mean cross-entropy plus the L2 penalty.

    Args:
        features: (N, D).
        targets: Distributions, (N, C).
        sample_weight: Weight of each text, (N,), not all zero.
        fit_bias: Whether b is fitted; otherwise it is zero.

    Returns:
        W, (D, C), and b, (C,), for unscaled features.
    """
    mean = features.mean(0) if fit_bias else torch.zeros_like(features[0])
    scale = features.square().mean().sqrt().clamp_min(1e-12)
    zeros = torch.zeros(features.shape[1] + 1, targets.shape[1], device=features.device)
    weight, bias = fit_softmax_regression(
        (features - mean) / scale,
        targets,
        zeros[:-1],
        zeros[-1] if fit_bias else None,
        l2=PENALTY,
        max_iter=ITERATIONS,
        sample_weight=sample_weight / sample_weight.sum(),
    )
    unscaled = weight / scale
    return unscaled, (zeros[-1] if bias is None else bias) - mean @ unscaled
