"""Signals of each text: probabilities, entropies and energies of the passes, from logits in fp32."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from muka_fast.runtime.mapped import take_rows

Values = TypeVar("Values", Tensor, np.ndarray)


@dataclass(frozen=True)
class Signals:
    """One teacher's signals for N texts; entropies and energies in nats, all fp32 unless stated.

    Attributes:
        logits: Deterministic logits, (N, C).
        mean_probabilities: Mean over the passes of the softmax, (N, C).
        predictive_entropy: Entropy of the mean probabilities, (N,); if adaptive passes stopped early, an estimate
            of its value after all passes.
        expected_entropy: Mean over the passes of the entropy, (N,). Their difference is the mutual information.
        mean_energy: Mean over the passes of logsumexp(logits), (N,).
        trust_spread: Sample standard deviation over the passes of 1 − H / ln C, (N,); 0 for one pass.
        passes: Passes used, (N,), int32.
        features: Inputs of the classifier layer in the deterministic pass, (N, F); F is 0 without such a layer.
    """

    logits: np.ndarray
    mean_probabilities: np.ndarray
    predictive_entropy: np.ndarray
    expected_entropy: np.ndarray
    mean_energy: np.ndarray
    trust_spread: np.ndarray
    passes: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.passes)

    @property
    def mutual_information(self) -> np.ndarray:
        """Predictive minus expected entropy, (N,), never negative."""
        return np.maximum(self.predictive_entropy - self.expected_entropy, 0)

    def take(self, indices: np.ndarray | slice) -> Signals:
        """Return the texts at ``indices``."""
        return Signals(*(take_rows(getattr(self, field.name), indices) for field in fields(self)))

    @staticmethod
    def concatenate(groups: Sequence[Signals]) -> Signals:
        """Concatenate the signals of several groups of texts, in order."""
        return Signals(*(np.concatenate([getattr(group, f.name) for group in groups]) for f in fields(Signals)))


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy over the last dimension in nats, never negative; 0 · log 0 is 0."""
    return torch.special.entr(probabilities).sum(-1).clamp_min(0)


def normalised(entropies: Values, classes: int) -> Values:
    """Divide entropies by ln C, which makes label sets of different sizes comparable; 0 for a single class."""
    return entropies * (1 / math.log(classes) if classes > 1 else 0.0)


def trust_and_variance(logits: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Return the trust 1 − H(mean probabilities) / ln C and the variance of one pass' contribution, (N,) each.

    To first order (delta method) pass k contributes −Σ p_k ln p̄ to the entropy of the mean. The variance of these
    contributions over the passes gives the standard error of the trust after a finite number of passes.

    Args:
        logits: (passes, N, C), two passes or more.
    """
    probabilities = logits.float().softmax(-1)
    mean = probabilities.mean(0)
    influence = -(probabilities * mean.clamp_min(torch.finfo(mean.dtype).tiny).log()).sum(-1)
    variance = normalised(influence, logits.shape[-1]).var(0)
    return 1 - normalised(entropy(mean), logits.shape[-1]).cpu().numpy(), variance.cpu().numpy()


def summarise(logits: Tensor, pass_logits: Tensor, features: np.ndarray | None = None) -> Signals:
    """Reduce the logits of K passes to signals.

    Args:
        logits: Deterministic logits, (B, C).
        pass_logits: Logits of each pass, (K, B, C).
        features: Copied into the signals, (B, F), or None.
    """
    logits, pass_logits = logits.float(), pass_logits.float()
    passes, batch, classes = pass_logits.shape
    probabilities = pass_logits.softmax(-1)
    mean = probabilities.mean(0)
    entropies = entropy(probabilities)
    spread = normalised(entropies, classes).std(0) if passes > 1 else torch.zeros(batch)

    def array(tensor: Tensor) -> np.ndarray:
        return tensor.cpu().numpy().astype(np.float32)

    return Signals(
        logits=array(logits),
        mean_probabilities=array(mean),
        predictive_entropy=array(entropy(mean)),
        expected_entropy=array(entropies.mean(0)),
        mean_energy=array(pass_logits.logsumexp(-1).mean(0)),
        trust_spread=array(spread),
        passes=np.full(batch, passes, dtype=np.int32),
        features=np.zeros((batch, 0), dtype=np.float32) if features is None else features,
    )


@dataclass(frozen=True)
class DeterministicOutput:
    """The deterministic pass over B texts: logits (B, C), and the inputs of the classifier layer, (B, F)."""

    logits: Tensor
    features: np.ndarray

    def signals(self) -> Signals:
        """Return signals without stochastic passes: the deterministic pass replaces their mean; ``passes`` is 0."""
        signals = summarise(self.logits, self.logits[None], self.features)
        return replace(signals, passes=np.zeros(len(signals), dtype=np.int32))
