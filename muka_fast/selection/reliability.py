"""How far a pool's choice of teachers can be relied on, estimated without labels.

Signs that need no label are mapped to recall, the share of a teacher's own texts given to a teacher that knows their
class, by a linear regression, learned over pools with known owners by ``benchmarks/learn_selection.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

SIGNS = (
    "neighbours",
    "confidence",
    "purity",
    "stages",
    "lowest neighbours",
    "lowest confidence",
)
"""Share of graph neighbours given to the same teacher, mean posterior of the chosen teacher, purity of the anchors,
share of texts for which both stages choose alike; and the first two for the teacher where they are smallest."""
DOUBT_BELOW = 0.84
"""Estimated recall below which a choice is in doubt."""
FEW_TEXTS = 5


@dataclass(frozen=True)
class Reliability:
    """Estimates for a pool.

    Attributes:
        recall: Mean over the teachers of the share of their own texts given to a teacher that knows the class, 0 to 1.
        lowest: The same for the teacher that is served worst, 0 to 1.
    """

    recall: float
    lowest: float

    def __str__(self) -> str:
        if self is TOO_FEW_TEXTS:
            return "selection is in doubt: too few texts to judge them together; MUKA's per-text rule is used instead"
        line = (
            f"selection: estimated recall of the teachers' own texts {self.recall:.0%}, "
            f"of the worst-served teacher {self.lowest:.0%}"
        )
        if not self.in_doubt:
            return line
        return f"{line}; in doubt: label some texts, add texts of each teacher, or compare with --method muka"

    @property
    def in_doubt(self) -> bool:
        """Whether the estimated recall is below ``DOUBT_BELOW``."""
        return self.recall < DOUBT_BELOW


TOO_FEW_TEXTS = Reliability(0.0, 0.0)
"""Of a pool too small to be judged."""


def measure_signs(graph: csr_matrix, posterior: np.ndarray, first: np.ndarray, purity: float) -> np.ndarray:
    """Measure ``SIGNS`` over a reference pool.

    Args:
        graph: S of its neighbour graph, (M, M).
        posterior: (M, T).
        first: Scores of the first stage, (M, T).
        purity: Of the prototypes.
    """
    chosen = posterior.argmax(1)
    hard = np.eye(posterior.shape[1])[chosen]
    around = np.asarray(graph @ hard)
    same = (around * hard).sum(1) / np.maximum(around.sum(1), 1e-9)
    sure = posterior.max(1)
    own = [chosen == teacher for teacher in range(posterior.shape[1])]
    seen = [rows for rows in own if rows.sum() >= FEW_TEXTS]
    return np.array(
        [
            same.mean(),
            sure.mean(),
            purity,
            (first.argmax(1) == chosen).mean(),
            min((same[rows].mean() for rows in seen), default=0.0),
            min((sure[rows].mean() for rows in seen), default=0.0),
        ]
    )


def estimate(signs: np.ndarray, mean: dict[str, float], lowest: dict[str, float]) -> Reliability:
    """Map signs to estimates by learned coefficients, by sign and ``constant``."""

    def linear(weights: dict[str, float]) -> float:
        value = weights["constant"] + sum(weights[name] * sign for name, sign in zip(SIGNS, signs, strict=True))
        return float(np.clip(value, 0, 1))

    recall = linear(mean)
    return Reliability(recall, min(recall, linear(lowest)))
