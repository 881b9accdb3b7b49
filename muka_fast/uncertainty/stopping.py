"""How many passes a text needs: single-pass margin first, then doubling chunks until its choice of teacher stands out.

Pass n of a text is the same whatever rule asks for it, so the passes of an adaptive run are the first ones of a full
run. A random audit sample of the texts runs all of them: comparing its final choice with the one the rule would have
stopped at estimates, without bias, how often the rule changes the choice.

After few passes their own spread is a poor estimate of their noise, and the deterministic pass still knows something.
So the deterministic trust counts as two further passes, and a text's variance is drawn towards the mean variance of
the texts that are open with it, which counts as two degrees of freedom.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from statistics import NormalDist

import numpy as np

_LOOK = 2
"""Passes that the deterministic trust counts as."""
_POOLED = 2
"""Degrees of freedom that the open texts' mean variance counts as."""


@dataclass(frozen=True)
class StoppingRule:
    """When to stop.

    Attributes:
        min_margin: Texts whose two best teachers differ by more in the deterministic pass' trust run no pass at all.
        confidence: Probability with which the best teacher must be ahead of each other one, passes' noise considered.
        max_passes: K.
        audit: Share of the texts that run all K.
    """

    min_margin: float
    confidence: float
    max_passes: int
    audit: float

    @property
    def chunks(self) -> list[range]:
        """The passes of each round: 0–1, 2–3, 4–7, 8–15, … up to K."""
        edges = [0, 2]
        while edges[-1] < self.max_passes:
            edges.append(2 * edges[-1])
        edges = [edge for edge in edges if edge < self.max_passes] + [self.max_passes]
        return [range(start, stop) for start, stop in pairwise(edges)]

    def audited(self, ids: np.ndarray, seed: int) -> np.ndarray:
        """Return which texts are audited, (N,) bool: a random sample that follows from seed and text ids alone."""
        mixed = _mix(ids.astype(np.uint64) ^ _mix(np.array([seed ^ 0x6175646974], dtype=np.uint64)))
        return mixed < np.uint64(min(int(self.audit * 2**64), 2**64 - 1))

    def estimate(
        self, look: np.ndarray, trust: np.ndarray, variance: np.ndarray, passes: int, is_open: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return a teacher's trust as many passes would have it, and its standard error, (N,) each.

        Args:
            look: Selection by the deterministic pass, (N,).
            trust: Selection by the mean of ``passes`` passes, (N,).
            variance: Variance of one pass' trust, (N,).
            passes: Number of passes; at K their own trust stands alone.
            is_open: Texts whose variances are pooled: those not stopped yet, (N,) bool.
        """
        squares = (passes - 1) * variance + _LOOK * passes / (_LOOK + passes) * np.square(trust - look)
        pooled = (squares[is_open].mean() if is_open.any() else 0.0) / passes
        error = np.sqrt((squares + _POOLED * pooled) / (passes + _POOLED) / (passes + _LOOK))
        if passes == self.max_passes:
            return trust, error
        return (_LOOK * look + passes * trust) / (_LOOK + passes), error

    def undecided(self, trust: np.ndarray, error: np.ndarray) -> np.ndarray:
        """Return where some teacher is too close to the best one to tell, (N,) bool.

        Args:
            trust: Selection of each teacher, (teachers, N).
            error: Its standard error, (teachers, N).
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
        """Return which texts need passes by the trust of the deterministic pass, (teachers, N): (N,) bool."""
        ranked = np.sort(trust, axis=0)
        return ranked[-1] - ranked[-2] <= self.min_margin


def _mix(values: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser: neighbouring numbers in, unrelated ones out."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


@dataclass(frozen=True)
class Audit:
    """How often the rule's choice differs from that of all K passes, seen on a random sample.

    Attributes:
        audited: Size of the sample.
        changed: Texts of it whose choice differs.
        texts: Size of the pool.
        passes: Passes at which the rule stopped, summed over the pool.
    """

    audited: int
    changed: int
    texts: int
    passes: int

    @staticmethod
    def total(audits: Sequence[Audit]) -> Audit:
        """Add up the audits of several shards."""
        return Audit(*(sum(getattr(audit, field.name) for audit in audits) for field in fields(Audit)))

    @property
    def mean_passes(self) -> float:
        """Passes a text at which the rule stopped, the audit's own not counted."""
        return self.passes / max(1, self.texts)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % Wilson score interval of the share of changed choices; (0, 1) without a sample."""
        if not self.audited:
            return 0.0, 1.0
        z, n, share = NormalDist().inv_cdf(0.975), self.audited, self.changed / self.audited
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def __str__(self) -> str:
        if not self.audited:
            return f"adaptive passes: {self.mean_passes:.1f} a text; no text was audited"
        low, high = self.interval
        return (
            f"adaptive passes: {self.mean_passes:.1f} a text; all of them would have chosen another teacher for "
            f"{self.changed} of {self.audited} audited texts (95 % interval {low:.1%} to {high:.1%})"
        )
