"""Trust scores: one number per teacher and text from the teacher's signals, larger for more trust."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from muka_fast.errors import RecipeError
from muka_fast.runtime.mapped import mapped_chunks
from muka_fast.selection.mahalanobis import MahalanobisModel
from muka_fast.uncertainty.signals import Signals, entropy, normalised


def probabilities(signals: Signals) -> torch.Tensor:
    """Return the softmax of the deterministic logits, (N, C) fp32."""
    return torch.from_numpy(signals.logits).softmax(-1)


def _by_rows(score: Callable[[Signals], np.ndarray], signals: Signals) -> np.ndarray:
    """Return a score of each text by itself, (N,), computed for some texts at a time."""
    return np.concatenate([score(signals.take(rows)) for rows in mapped_chunks(len(signals))])


def _predictive_entropy(signals: Signals) -> np.ndarray:
    return 1 - normalised(signals.predictive_entropy, signals.logits.shape[1])


def _single_pass_entropy(signals: Signals) -> np.ndarray:
    classes = signals.logits.shape[1]
    return _by_rows(lambda some: 1 - normalised(entropy(probabilities(some)).numpy(), classes), signals)


def _energy(signals: Signals) -> np.ndarray:
    return _by_rows(lambda some: torch.from_numpy(some.logits).logsumexp(-1).numpy(), signals)


def _max_probability(signals: Signals) -> np.ndarray:
    return _by_rows(lambda some: probabilities(some).amax(-1).numpy(), signals)


def _mutual_information(signals: Signals) -> np.ndarray:
    return 1 - normalised(signals.mutual_information, signals.logits.shape[1])


def _standard_energy(signals: Signals) -> np.ndarray:
    energy = _energy(signals)
    middle = np.median(energy)
    return (energy - middle) / (MAD_TO_DEVIATION * np.median(np.abs(energy - middle)) + 1e-6)


def _tempered_entropy(signals: Signals) -> np.ndarray:
    logits = torch.from_numpy(signals.logits)
    temperature, classes = level_temperature(logits), logits.shape[1]

    def score(some: Signals) -> np.ndarray:
        tempered = torch.from_numpy(some.logits).double() / temperature
        return 1 - normalised(entropy(tempered.softmax(-1)).numpy(), classes)

    return _by_rows(score, signals)


def level_temperature(logits: torch.Tensor) -> float:
    """Return the temperature at which a teacher is as often sure as unsure over a pool.

    That is where the mean entropy of softmax(logits / T) is half of what it can be, so that teachers with few classes
    or large logits are not the surer ones; the entropy grows with T, found by bisection between 1/1024 and 1024.

    Args:
        logits: (N, C), C ≥ 2.
    """
    some = logits[:: max(1, len(logits) // FITTED_ON)].double()
    low, high = -10.0, 10.0
    for _ in range(40):
        middle = (low + high) / 2
        level = normalised(entropy((some / 2**middle).softmax(-1)).numpy(), logits.shape[1]).mean()
        low, high = (middle, high) if level < 0.5 else (low, middle)
    return float(2**middle)


def _relative_mahalanobis(signals: Signals) -> np.ndarray:
    if not signals.features.shape[1]:
        raise RecipeError(
            "trust 'relative-mahalanobis' needs features, and a teacher's classifier has none",
            where="selection.trust",
            hint="use 'energy'",
        )
    some = signals.take(slice(None, None, max(1, len(signals) // MEANS_FROM)))
    features, everyone = some.features.astype(np.float64), np.ones(len(some))
    background, own = (
        MahalanobisModel.fit(features, classes, everyone)
        for classes in (everyone[:, None], probabilities(some).double().numpy())
    )

    def score(part: Signals) -> np.ndarray:
        features = part.features.astype(np.float64)
        return background.nearest(features) - own.nearest(features)

    return _by_rows(score, signals)


FITTED_ON = 20_000
"""Texts that a temperature is fitted on, about."""
MEANS_FROM = 50_000
"""Texts that class means and covariances are computed from, about."""
MAD_TO_DEVIATION = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""

TRUST_SCORES: dict[str, Callable[[Signals], np.ndarray]] = {
    # 1 − H(mean over K passes of the softmax) / ln C: MUKA (arXiv 2112.07327), section 3.
    "predictive-entropy": _predictive_entropy,
    # The same of the one deterministic pass.
    "single-pass-entropy": _single_pass_entropy,
    # The same at a temperature a teacher at which all teachers are equally sure over the pool (the softmax's
    # temperature of Guo et al. 2017, fitted without labels).
    "tempered-entropy": _tempered_entropy,
    # logsumexp of the deterministic logits (Liu et al. 2020), unscaled: teachers differ in its level.
    "energy": _energy,
    # The same, averaged over the passes.
    "mc-energy": lambda signals: signals.mean_energy,
    # 1 − I / ln C, I the mutual information of class and mask: what the passes disagree about (Houlsby et al. 2011).
    "mutual-information": _mutual_information,
    # Energy less its median over the pool, over its spread there: one level for all teachers.
    "standard-energy": _standard_energy,
    # How much nearer its own classes than the pool's middle (Ren et al. 2021, arXiv 2106.09022), means from the pool.
    "relative-mahalanobis": _relative_mahalanobis,
    # Largest softmax probability of the deterministic pass.
    "max-probability": _max_probability,
}
