"""What logits say: the most likely class, its probability, entropy and energy; needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from muka_fast.runtime.numerics import softmax

CALIBRATION_KEY = "muka_fast_confidence"
"""Key of a configuration under which a student's :class:`Calibration` is saved."""


class Prediction(NamedTuple):
    """A text's most likely class.

    Attributes:
        label: Its name; None if its probability is below the classifier's threshold.
        probability: Of that class.
        entropy: Of the class distribution, in nats; near 0 is sure, ln(classes) knows nothing.
        energy: logsumexp of the logits, in nats; lower for texts unlike those trained on (Liu et al. 2020).
    """

    label: str | None
    probability: float
    entropy: float
    energy: float


class Calibration(NamedTuple):
    """How a classifier's logits become probabilities, and when it says nothing; saved with it.

    Attributes:
        temperature: What logits are divided by before the softmax.
        abstain_below: Probability below which it names no class.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0

    @classmethod
    def read(cls, saved: Mapping[str, float] | None) -> Calibration:
        """Return what a configuration holds, the default where it holds nothing."""
        return cls(**(saved or {}))


UNCALIBRATED = Calibration()
"""Probabilities as the logits give them, and always a class."""


def decode(logits: np.ndarray, names: Sequence[str], confidence: Calibration = UNCALIBRATED) -> list[Prediction]:
    """Turn logits into predictions.

    Args:
        logits: (N, classes).
        names: Class names in column order.
        confidence: Its temperature and threshold; energies are of the logits as they are.
    """
    if not len(logits):
        return []
    probabilities = softmax(logits / confidence.temperature).astype(np.float64)
    logs = np.log(probabilities, where=probabilities > 0, out=np.zeros_like(probabilities))
    entropies = np.maximum(-(probabilities * logs).sum(-1), 0)
    highest = logits.max(-1).astype(np.float64)
    energies = highest + np.log(np.exp(logits - highest[:, None]).sum(-1))
    best = probabilities.argmax(-1)
    return [
        Prediction(
            names[column] if probabilities[row, column] >= confidence.abstain_below else None,
            float(probabilities[row, column]),
            float(entropies[row]),
            float(energies[row]),
        )
        for row, column in enumerate(best)
    ]
