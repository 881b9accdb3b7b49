"""Calibration: temperature and threshold, fitted with few labels or none, and its error. Needs numpy alone."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

ENOUGH = 20
"""Minimum number of held-out texts to fit a temperature without labels on."""
VOTES_WEIGHT = 25.0
"""Labels that the held-out texts without labels weigh as much as, at most, together."""
PRIOR = 0.5
"""Weight of (ln T)², which keeps T near 1 where there are few texts."""
_TEMPERATURES = np.geomspace(0.2, 5, 201)


class LabelledLogits(NamedTuple):
    """Logits of texts with known classes.

    Attributes:
        logits: (L, C).
        classes: Columns, (L,).
    """

    logits: np.ndarray
    classes: np.ndarray


def fit_temperature(logits: np.ndarray, votes: np.ndarray, labelled: LabelledLogits | None = None) -> float:
    """Return the temperature of smallest cross-entropy from class votes and labels, on texts not trained on.

    Temperature scaling (Guo et al. 2017, arXiv 1706.04599). Without labels their place is taken by the teachers' most
    likely classes, each weighted by the probability that its teacher is in-domain. A fit to the teachers' distributions
    would make the student as confident as a class drawn from them is right, and the most likely class is right more
    often. The minimum is taken over 201 temperatures from 0.2 to 5.
    ``benchmarks/calibration.py`` compares this fit with others.

    Args:
        logits: Of the held-out texts, (N, C); N may be 0.
        votes: Distributions over the classes, (N, C).
        labelled: Texts with known classes. Their cross-entropies are added up; those of the votes count like at most
            25 labels.

    Returns:
        The temperature; 1 if there are no texts.
    """
    losses = PRIOR * np.log(_TEMPERATURES) ** 2
    if len(logits):
        losses += min(1.0, VOTES_WEIGHT / len(logits)) * _cross_entropies(logits, votes)
    if labelled is not None and len(labelled.classes):
        losses += _cross_entropies(labelled.logits, np.eye(labelled.logits.shape[1])[labelled.classes])
    return float(_TEMPERATURES[np.argmin(losses)])


def fit_threshold(confidence: np.ndarray, right: np.ndarray, weight: np.ndarray, target: float) -> float:
    """Return the smallest confidence from which on predictions are right often enough.

    Args:
        confidence: Probability of the predicted class, (N,).
        right: Probability that the prediction is right, (N,); 0 or 1 where the class is known.
        weight: How much each text counts, (N,).
        target: Weighted mean of ``right`` that the texts at or above the threshold reach, 0 to 1.

    Returns:
        The threshold; 1 if no texts reach the target.
    """
    order = np.argsort(-confidence, kind="stable")
    ordered = confidence[order]
    reached = np.cumsum((weight * right)[order]) >= target * np.cumsum(weight[order])
    reached &= np.append(ordered[1:] < ordered[:-1], True)  # texts of equal confidence are on one side
    found = np.flatnonzero(reached)
    return float(ordered[found[-1]]) if len(found) else 1.0


def _cross_entropies(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the sum of the cross-entropies at every temperature."""
    found = []
    for temperature in _TEMPERATURES:
        scaled = logits.astype(np.float64) / temperature
        logs = scaled - np.logaddexp.reduce(scaled, axis=1)[:, None]
        found.append(-(targets * logs).sum())
    return np.array(found)


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
