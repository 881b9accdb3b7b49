"""Sequential stopping: how many passes a text needs until its choice of teacher is decided.

Texts with a small margin in the deterministic pass run passes in rounds of doubling size. Pass n of a text does not
depend on the rule, so the passes of an adaptive run are the first passes of a full run. A random audit sample runs all
passes. The share of its texts whose final choice differs from the choice at the rule's stop is an unbiased estimate of
how often the rule changes a choice.

After few passes their own variance is a poor estimate of their noise. So the trust of the deterministic pass counts as
two further passes, and each variance is shrunk towards the mean over the undecided texts, with a weight of two degrees
of freedom.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import NormalDist

import numpy as np

from muka_fast.runtime.numerics import wilson_interval

_DETERMINISTIC_WEIGHT = 2
"""Weight of the deterministic trust, in passes."""
_PRIOR_WEIGHT = 2
"""Weight of the mean variance of the undecided texts, in degrees of freedom."""


@dataclass(frozen=True)
class StoppingRule:
    """When the passes of a text stop.

    Attributes:
        min_margin: Texts whose two best teachers differ by more in the trust of the deterministic pass run no passes.
        confidence: Probability with which the best teacher must lead each other one, given the noise of the passes.
        max_passes: Passes of a text at most, K.
        audit: Share of the texts that run all K passes.
    """

    min_margin: float
    confidence: float
    max_passes: int
    audit: float

    @property
    def chunks(self) -> list[range]:
        """Pass ids of each round: 0–1, 2–3, 4–7, 8–15, … up to K."""
        edges = [0, 2]
        while edges[-1] < self.max_passes:
            edges.append(2 * edges[-1])
        edges = [edge for edge in edges if edge < self.max_passes] + [self.max_passes]
        return [range(start, stop) for start, stop in pairwise(edges)]

    def audited(self, ids: np.ndarray, seed: int) -> np.ndarray:
        """Return which texts are audited, (N,) bool: a random sample determined by seed and text ids alone."""
        mixed = _mix(ids.astype(np.uint64) ^ _mix(np.array([seed ^ 0x6175646974], dtype=np.uint64)))
        return mixed < np.uint64(min(int(self.audit * 2**64), 2**64 - 1))

    def estimate(
        self, deterministic: np.ndarray, trust: np.ndarray, variance: np.ndarray, passes: int, undecided: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the estimate of a teacher's trust after all passes, and its standard error, (N,) each.

        Args:
            deterministic: Trust by the deterministic pass, (N,).
            trust: Trust by the mean of ``passes`` passes, (N,).
            variance: Variance of one pass' trust, (N,).
            passes: Number of passes so far; after K passes the estimate is ``trust`` itself.
            undecided: Texts whose variances are averaged: those not stopped yet, (N,) bool.
        """
        prior = _DETERMINISTIC_WEIGHT
        squares = (passes - 1) * variance + prior * passes / (prior + passes) * np.square(trust - deterministic)
        pooled = (squares[undecided].mean() if undecided.any() else 0.0) / passes
        error = np.sqrt((squares + _PRIOR_WEIGHT * pooled) / (passes + _PRIOR_WEIGHT) / (passes + prior))
        if passes == self.max_passes:
            return trust, error
        return (prior * deterministic + passes * trust) / (prior + passes), error

    def undecided(self, trust: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Return which texts need more passes, (N,) bool: the best teacher does not lead some other one significantly.

        Args:
            trust: Estimated trust of each teacher, (teachers, N).
            error: Standard error of the trust, (teachers, N).
        """
        variances = np.square(error)
        best = trust.argmax(0)
        columns = np.arange(trust.shape[1])
        margins = trust[best, columns] - trust
        noise = np.sqrt(variances + variances[best, columns])
        close = margins <= NormalDist().inv_cdf(self.confidence) * noise
        close[best, columns] = False
        return close.any(0)

    def needs_passes(self, trust: np.ndarray) -> np.ndarray:
        """Return which texts run passes at all, (N,) bool: those whose two best teachers are within ``min_margin``.

        Args:
            trust: Trust of each teacher by the deterministic pass, (teachers, N).
        """
        ranked = np.sort(trust, axis=0)
        return ranked[-1] - ranked[-2] <= self.min_margin


def _mix(values: np.ndarray) -> np.ndarray:
    """Hash 64-bit words by the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Audit:
    """How often the rule's choice of teacher differs from the choice after all K passes, on a random sample."""

    audited: int
    """Texts of the sample."""
    changed: int
    """Texts of the sample whose choice differs."""
    texts: int
    """Texts of the pool."""
    passes: int
    """Passes after which the rule stopped, summed over the pool."""

    @staticmethod
    def total(audits: Sequence[Audit]) -> Audit:
        """Add up the audits of several shards."""
        return Audit(*(sum(getattr(audit, field.name) for audit in audits) for field in fields(Audit)))

    @property
    def mean_passes(self) -> float:
        """Mean passes per text after which the rule stopped, without those added by the audit."""
        return self.passes / max(1, self.texts)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson interval of the share of changed choices; (0, 1) without a sample."""
        return wilson_interval(self.changed / max(1, self.audited), self.audited)

    def __str__(self) -> str:
        if not self.audited:
            return f"adaptive passes: {self.mean_passes:.1f} per text; no text was audited"
        low, high = self.interval
        return (
            f"adaptive passes: {self.mean_passes:.1f} per text; all K passes would have chosen another teacher for "
            f"{self.changed} of {self.audited} audited texts (95 % interval {low:.1%} to {high:.1%})"
        )
