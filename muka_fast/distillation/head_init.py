"""A student's fresh head fitted to its targets before anything else is trained: a probe of the pretrained encoder.

Linear probing and then fine-tuning, Kumar et al. 2022 (arXiv 2202.10054). A head of random weights moves slowly at the
learning rates that pretrained encoders bear; where texts are few and classes many, that is most of a training.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from muka_fast.data.batching import TOKEN_BUDGET, token_batches
from muka_fast.data.tokenization import TokenizedText, pad_batch
from muka_fast.distillation.dataset import DistillationSet
from muka_fast.models.student import Student
from muka_fast.uncertainty.features import classifier_input, classifier_layer

TEXTS, ITERATIONS = 10_000, 60
PENALTY = 1e-2
"""Times half the squared weights, of features of root mean square 1, beside the mean loss.

Not of standardised ones: where features hardly vary, weights that tell them apart would be large, and the first steps
of training would move the logits far.
"""


def linear_probe_init(student: Student, data: DistillationSet, device: torch.device, temperature: float = 1.0) -> bool:
    """Fit a student's last layer to target distributions, on at most 10,000 texts; the rest of it stays as it is.

    Args:
        student: Its model is moved to the device.
        data: Texts with target distributions over its classes.
        device: Where to compute.
        temperature: What logits are divided by to be compared with the targets.

    Returns:
        Whether it was done: not if the head is of another kind, or all texts weigh nothing.
    """
    layer = classifier_layer(student.model)
    pick = np.linspace(0, len(data) - 1, min(len(data), TEXTS)).round().astype(int)
    items = [data[place] for place in pick]
    sample_weight = torch.tensor([float(item["importance"]) for item in items], device=device)
    if layer is None or not sample_weight.any():
        return False
    features = _features(student, [item["encoding"] for item in items], data.lengths[pick], device)
    if features is None:
        return False
    goal = torch.from_numpy(np.stack([item["target"] for item in items])).to(device)
    weight, bias = _regress(features, goal, sample_weight, centred=layer.bias is not None)
    with torch.no_grad():
        layer.weight.copy_(temperature * weight.T)
        if layer.bias is not None:
            layer.bias.copy_(temperature * bias)
    return True


def _features(student: Student, rows: list[TokenizedText], lengths: np.ndarray, device: torch.device) -> Tensor | None:
    """Return what the classifier layer reads of each text, (N, D); None if that is not one vector a text."""
    model = student.model.to(device).eval()
    result: Tensor | None = None
    with torch.no_grad(), classifier_input(model) as seen:
        for batch in token_batches(lengths, np.arange(len(rows), dtype=np.uint64), TOKEN_BUDGET[device.type]):
            model(**pad_batch(student.tokenizer, [rows[place] for place in batch], device))
            if not seen:
                return None
            if result is None:
                result = torch.empty(len(rows), seen[-1].shape[1], device=device)
            result[batch] = seen[-1].float()
            seen.clear()
    return result


def _regress(features: Tensor, goal: Tensor, sample_weight: Tensor, *, centred: bool) -> tuple[Tensor, Tensor]:
    """Fit softmax(x W + b) to distributions by L-BFGS: cross-entropy weighted by importance, and small weights.

    Args:
        features: (N, D).
        goal: (N, C).
        sample_weight: (N,), not all zero.
        centred: Whether there is a bias.

    Returns:
        W, (D, C), and b, (C,), for features as they are.
    """
    middle = features.mean(0) if centred else torch.zeros_like(features[0])
    size = features.square().mean().sqrt().clamp_min(1e-12)
    scaled = (features - middle) / size
    weight = torch.zeros(features.shape[1], goal.shape[1], device=features.device, requires_grad=True)
    bias = torch.zeros(goal.shape[1], device=features.device, requires_grad=centred)
    share = sample_weight / sample_weight.sum()
    optimiser = torch.optim.LBFGS(
        [weight, bias] if centred else [weight], max_iter=ITERATIONS, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        wrong = -(goal * (scaled @ weight + bias).log_softmax(1)).sum(1)
        value = (share * wrong).sum() + PENALTY / 2 * weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    unscaled = weight.detach() / size
    return unscaled, bias.detach() - middle @ unscaled
