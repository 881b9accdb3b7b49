"""Logits to predictions: the most likely class, its probability, entropy and energy. Needs numpy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from muka_fast.errors import ModelError
from muka_fast.runtime.numerics import entropy, softmax

CALIBRATION_KEY = "muka_fast_confidence"
"""Key of the :class:`Calibration` in a student's configuration."""


class Prediction(NamedTuple):
    """The most likely class of a text.

    Attributes:
        label: Class name; None if its probability is below the threshold of the calibration.
        probability: Probability of that class.
        entropy: Entropy of the class distribution, in nats: 0 for a certain class, ln(C) for a uniform distribution.
        energy: logsumexp of the logits, in nats; lower for out-of-domain texts (Liu et al. 2020, arXiv:2010.03759).
            None where there are no logits of one model.
    """

    label: str | None
    probability: float
    entropy: float
    energy: float | None


class Calibration(NamedTuple):
    """How logits become probabilities, and when the classifier abstains; saved with the classifier.

    Attributes:
        temperature: Divisor of the logits before the softmax; 1 where the temperature is folded into the weights.
        abstain_below: Probability below which no class is named.
        folded_temperature: Temperature that the weights of the last layer are divided by already; for the record.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0
    folded_temperature: float = 1.0

    @classmethod
    def read(cls, saved: Any, where: str = "the classifier") -> Calibration:
        """Return the calibration saved in a configuration, or the default where none is saved.

        Args:
            saved: What the configuration holds; None for nothing.
            where: Name of the classifier in messages.

        Raises:
            ModelError: If it is not temperatures from 0.001 to 1000 and a probability.
        """
        given = {} if saved is None else saved
        if isinstance(given, Mapping) and set(given) <= set(cls._fields):
            calibration = cls(**given)
            if all(_is_within(getattr(calibration, name), *ends) for name, ends in _CALIBRATION_RANGES.items()):
                return cls(*map(float, calibration))
        raise ModelError(
            f"no valid calibration: {str(saved)[:80]!r}",
            where=where,
            hint="give a temperature from 0.001 to 1000 and abstain_below from 0 to 1 there",
        )


_CALIBRATION_RANGES = {"temperature": (1e-3, 1e3), "abstain_below": (0.0, 1.0), "folded_temperature": (1e-3, 1e3)}


def _is_within(value: Any, low: float, high: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


UNCALIBRATED = Calibration()
"""Temperature 1, no threshold."""


class Distributions(NamedTuple):
    """Class distributions of N texts.

    Attributes:
        probabilities: (N, C), rows summing to one, at the temperature of the calibration.
        energies: logsumexp of the logits, (N,); None where there are no logits of one model.
    """

    probabilities: np.ndarray
    energies: np.ndarray | None


def distributions(logits: np.ndarray, calibration: Calibration = UNCALIBRATED) -> Distributions:
    """Turn logits, (N, C), into distributions and energies; the temperature does not change the energies."""
    highest = logits.max(-1).astype(np.float64)
    energies = highest + np.log(np.exp(logits - highest[:, None]).sum(-1))
    return Distributions(softmax(logits / calibration.temperature), energies)


def tempered(probabilities: np.ndarray, calibration: Calibration = UNCALIBRATED) -> Distributions:
    """Turn class distributions, (N, C), into those at a temperature, which divides their logarithms."""
    logs = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    return Distributions(softmax(logs / calibration.temperature), None)


def decode(logits: np.ndarray, labels: Sequence[str], calibration: Calibration = UNCALIBRATED) -> list[Prediction]:
    """Turn logits into predictions.

    Args:
        logits: (N, C).
        labels: Class names in column order.
        calibration: Temperature and threshold. The temperature does not change the energies.
    """
    if not len(logits):
        return []
    return _predictions(distributions(logits, calibration), labels, calibration)


def decode_probabilities(
    probabilities: np.ndarray, labels: Sequence[str], calibration: Calibration = UNCALIBRATED
) -> list[Prediction]:
    """Turn class distributions, (N, C), into predictions without energies; a temperature divides their logarithms."""
    if not len(probabilities):
        return []
    return _predictions(tempered(probabilities, calibration), labels, calibration)


def _predictions(found: Distributions, labels: Sequence[str], calibration: Calibration) -> list[Prediction]:
    probabilities = found.probabilities.astype(np.float64)
    energies = [None] * len(probabilities) if found.energies is None else found.energies.tolist()
    entropies = entropy(probabilities)
    best = probabilities.argmax(-1)
    return [
        Prediction(
            labels[column] if probabilities[row, column] >= calibration.abstain_below else None,
            float(probabilities[row, column]),
            float(entropies[row]),
            energies[row],
        )
        for row, column in enumerate(best)
    ]
