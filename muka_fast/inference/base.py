"""The protocol of text classifiers, and the base of those that compute logits. Needs numpy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol, Self

import numpy as np

from muka_fast.inference.predictions import Calibration, Distributions, Prediction, decode, distributions
from muka_fast.runtime.numerics import softmax

Kind = Literal["student", "ensemble"]
Advance = Callable[[float], None]
"""Receives the number of texts that each batch completed."""


def no_progress(_: float) -> None:
    """Ignore how far the work is."""


class TextClassifier(Protocol):
    """A single-label text classifier: a student, its ONNX form or an ensemble of teachers."""

    @property
    def kind(self) -> Kind:
        """Whether one model classifies, or the teachers together."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in column order."""

    @property
    def calibration(self) -> Calibration:
        """Temperature of the softmax, and the probability below which no class is named."""

    def with_calibration(self, calibration: Calibration) -> Self:
        """Return the same classifier with another calibration."""

    def predict_proba(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> np.ndarray:
        """Return class probabilities in the order of the texts.

        Args:
            texts: N texts.
            pairs: The second text of each pair, if the classifier reads pairs.
            progress: Receives the number of texts that each batch completed.

        Returns:
            (N, C) fp32, rows summing to one.

        Raises:
            TypeError: If ``texts`` is one string.
        """

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Return the most likely class of each text, its probability, entropy and, from a single model, energy."""

    def distributions(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> Distributions:
        """Return what :meth:`classify` decides by: all probabilities at the temperature, and energies."""


class LogitClassifier(ABC):
    """A classifier of one model: probabilities and predictions follow from its logits.

    Attributes:
        labels: Class names in column order.
        calibration: Temperature of the softmax, and the probability below which no class is named.
    """

    kind: ClassVar[Kind] = "student"
    labels: tuple[str, ...]
    calibration: Calibration

    @abstractmethod
    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> np.ndarray:
        """Return the logits of N texts, (N, C) fp32, in their order; arguments as :meth:`predict_proba`."""

    def predict_proba(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> np.ndarray:
        """Return class probabilities, (N, C) fp32; see :meth:`TextClassifier.predict_proba`."""
        return softmax(self.logits(texts, pairs, progress) / self.calibration.temperature)

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Return the most likely class of each text, its probability, entropy and energy."""
        return decode(self.logits(texts, pairs), self.labels, self.calibration)

    def distributions(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> Distributions:
        """Return all probabilities at the temperature, and energies; see :meth:`TextClassifier.distributions`."""
        return distributions(self.logits(texts, pairs, progress), self.calibration)


def require_list(texts: Sequence[str]) -> None:
    """Refuse one string, which would be read as a list of characters.

    Raises:
        TypeError: If ``texts`` is one string.
    """
    if isinstance(texts, str):
        raise TypeError("give a list of texts, not one string")
