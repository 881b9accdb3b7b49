"""The conditional logit (McFadden 1974) over the teachers: learned weights of the evidence.

Weights are learned once, on pools whose owners are known, by ``benchmarks/learn_selection.py``; none is fitted to a
user's pool. They stand in ``weights.json``, one set for each kind of evidence that a run may have.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from muka_fast.selection.prototypes import NUMBERS

WEIGHTS = Path(__file__).with_name("weights.json")


@dataclass(frozen=True)
class LogitWeights:
    """Weights of one kind of evidence.

    Attributes:
        evidence: By the name of a number; ``d`` before the name: of the number diffused over the neighbour graph.
        prototypes: By the name of a prototype number, and ``score`` for the score from ``evidence``.
        reliability: Coefficients of the estimated recall, by sign and ``constant``; empty where no estimate holds.
        lowest: The same of the recall of the teacher that is served worst.
    """

    evidence: dict[str, float]
    prototypes: dict[str, float]
    reliability: dict[str, float]
    lowest: dict[str, float]

    @property
    def numbers(self) -> tuple[str, ...]:
        """Names of the numbers that the first score reads, without their diffused forms."""
        return tuple(name for name in self.evidence if not name.startswith("d "))

    def first_score(self, values: np.ndarray, diffused: np.ndarray) -> np.ndarray:
        """Return scores (N, T) of (N, T, F) numbers and their diffused forms, columns as ``numbers``."""
        own = np.array([self.evidence[name] for name in self.numbers])
        spread = np.array([self.evidence.get(f"d {name}", 0.0) for name in self.numbers])
        return values @ own + diffused @ spread

    def second_score(self, first: np.ndarray, numbers: np.ndarray | None) -> np.ndarray:
        """Return scores (N, T) of first scores and the prototypes' numbers, (N, T, P); the first ones without these."""
        total = first
        if numbers is not None:
            total = self.prototypes["score"] * first + numbers @ np.array([self.prototypes[name] for name in NUMBERS])
        return total - total.mean(1, keepdims=True)


@lru_cache(maxsize=1)
def _read() -> dict[str, LogitWeights]:
    tree = json.loads(WEIGHTS.read_text(encoding="utf-8"))
    return {name: LogitWeights(**one) for name, one in tree["weights"].items()}


def weights_for(*, encoder: bool, names: bool, features: bool) -> LogitWeights:
    """Return the weights for a kind of evidence.

    Args:
        encoder: Whether texts have vectors, by a pretrained encoder or of n-grams.
        names: Whether class names are compared with texts.
        features: Whether every teacher has features.
    """
    return _read()[kind(encoder=encoder, names=names, features=features)]


def kind(*, encoder: bool, names: bool, features: bool) -> str:
    """Name a kind of evidence as ``weights.json`` does."""
    graph = "encoder" if encoder else "features graph" if features else "answers graph"
    parts = [graph] + ["names"] * names + ["features"] * (features and encoder)
    return " + ".join(parts)
