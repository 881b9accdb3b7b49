"""Calibration: a temperature fitted without labels, and the expected calibration error. Needs numpy alone."""

from __future__ import annotations

import numpy as np

ENOUGH = 50
"""Minimum number of validation texts to fit a temperature on, and the size of the training sample otherwise."""
_TEMPERATURES = np.geomspace(0.2, 5, 201)


def fit_temperature(logits: np.ndarray, targets: np.ndarray, sample_weight: np.ndarray) -> float:
    """Return the temperature of smallest weighted KL divergence from the targets, on texts not trained on.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599) with the targets in place of labels: the minimum of
    mean(weight · KL(target ‖ softmax(logits / T))) over 201 temperatures from 0.2 to 5.

    Args:
        logits: (N, C).
        targets: Distributions, (N, C).
        sample_weight: (N,); the temperature is 1 if all weights are zero.
    """
    if not sample_weight.any():
        return 1.0

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        logs = scaled - np.logaddexp.reduce(scaled, axis=1)[:, None]
        return float(-(sample_weight * (targets * logs).sum(1)).sum())

    return float(_TEMPERATURES[np.argmin([loss(temperature) for temperature in _TEMPERATURES])])


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> float:
    """Return the mean gap of confidence and accuracy over bins of equal width, weighted by their number of texts.

    Args:
        confidence: (N,), in 0…1, N ≥ 1.
        correct: (N,) bool.
        bins: Number of bins (15 in Guo et al. 2017).
    """
    bin_ = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gap = np.bincount(bin_, confidence.astype(np.float64) - correct, minlength=bins)
    return float(np.abs(gap).sum() / len(confidence))
