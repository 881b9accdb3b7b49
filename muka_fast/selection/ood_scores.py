"""What a teacher's own numbers say of whose text is whose: distance to its classes, energy, and their likelihoods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from muka_fast.runtime.numerics import entropy, row_chunks

SHRINKAGE = 0.1
LEAST_ENTROPY = 1e-4
"""In nats: surer is as sure."""


@dataclass(frozen=True)
class TeacherOutputs:
    """What one teacher says of N texts.

    Attributes:
        probabilities: Deterministic softmax, (N, C).
        energy: logsumexp of the logits, (N,).
        features: What its classifier reads, (N, F), or None.
        owners: For each class, the number of the set of teachers that know it, (C,); None: nobody else knows any.
    """

    probabilities: np.ndarray
    energy: np.ndarray
    features: np.ndarray | None
    owners: np.ndarray | None = None

    def take(self, indices: np.ndarray) -> TeacherOutputs:
        """Return the texts at ``indices``."""
        features = None if self.features is None else self.features[indices]
        return replace(self, probabilities=self.probabilities[indices], energy=self.energy[indices], features=features)


@dataclass(frozen=True)
class Standardizer:
    """Mean and spread of columns, of the texts they were taken from.

    Attributes:
        mean: (D,).
        spread: Standard deviation, a little more than zero, (D,).
    """

    mean: np.ndarray
    spread: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Standardizer:
        """Measure the columns of (N, D) values, or (N,) of them; in parts, so that a pool is not copied."""
        mean = values.mean(0, dtype=np.float64)
        squares = sum(((values[rows] - mean) ** 2).sum(0) for rows in row_chunks(len(values)))
        return cls(mean, np.sqrt(squares / len(values)) + 1e-9)

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Return the values less the mean, over the spread."""
        return (values - self.mean) / self.spread


@dataclass(frozen=True)
class MahalanobisModel:
    """Where a teacher's classes lie among its features.

    Attributes:
        whiten: Maps features to where the covariance within classes is the identity, (F, F).
        centres: Class means there, (C, F).
    """

    whiten: np.ndarray
    centres: np.ndarray

    @classmethod
    def fit(cls, features: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> MahalanobisModel:
        """Take means and the common within-class covariance, shrunk towards a multiple of the identity.

        Args:
            features: (N, F).
            probabilities: The teacher's softmax, (N, C): how much a text counts for each class.
            weight: How much it counts at all, the belief that the teacher owns it, (N,), non-negative.
        """
        share = weight[:, None] * probabilities
        mass = share.sum(0)
        seen = mass > 1e-6 * mass.sum()
        means = (share[:, seen].T @ features) / mass[seen, None]
        scatter = features - means[probabilities[:, seen].argmax(1)]
        covariance = (scatter * weight[:, None]).T @ scatter / weight.sum()
        size = covariance.shape[0]
        level = np.trace(covariance) / size + 1e-12
        shrunk = (1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(size)
        whiten = np.linalg.inv(np.linalg.cholesky(shrunk)).T
        return cls(whiten, means @ whiten)

    def nearest(self, features: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distance of (N, F) features to the nearest class mean, (N,)."""
        points = features @ self.whiten
        squares = (points**2).sum(1)[:, None] - 2 * points @ self.centres.T + (self.centres**2).sum(1)
        return np.maximum(squares.min(1), 1e-9)


@dataclass(frozen=True)
class DomainLDA:
    """Own and foreign texts of one teacher, each normally distributed, with a common covariance.

    Numbers that are not larger for own texts say nothing: their slope is zero.

    Attributes:
        slope: Of the log-likelihood ratio in each number, a linear discriminant, (M,).
        middle: Where it is zero, (M,).
    """

    slope: np.ndarray
    middle: np.ndarray

    @classmethod
    def fit(cls, evidence: np.ndarray, weight: np.ndarray) -> tuple[DomainLDA, np.ndarray]:
        """Fit both, and measure what that gains.

        Args:
            evidence: (N, M) numbers of one teacher, larger the more a text seems its own.
            weight: Belief that it owns each text, (N,), in (0, 1).

        Returns:
            The fit, and each text's log-likelihood ratio of foreign against one normal distribution for all, (N,).
        """
        foreign = 1 - weight
        own_mean, foreign_mean = weight @ evidence / weight.sum(), foreign @ evidence / foreign.sum()
        slope, middle = np.zeros(evidence.shape[1]), (own_mean + foreign_mean) / 2
        larger = own_mean > foreign_mean
        if not larger.any():
            return cls(slope, middle), np.zeros(len(evidence))
        evidence, own_mean, foreign_mean = evidence[:, larger], own_mean[larger], foreign_mean[larger]
        own, other, all_ = evidence - own_mean, evidence - foreign_mean, evidence - evidence.mean(0)
        within = ((own * weight[:, None]).T @ own + (other * foreign[:, None]).T @ other) / len(evidence)
        total = all_.T @ all_ / len(evidence)
        ridge = 1e-6 * (np.trace(within) + 1e-12) * np.eye(len(within))
        slope[larger] = np.linalg.solve(within + ridge, own_mean - foreign_mean)
        return cls(slope, middle), _log_normal(other, within + ridge) - _log_normal(all_, total + ridge)

    def ratio(self, evidence: np.ndarray) -> np.ndarray:
        """Return the log-likelihood ratio of own against foreign of (N, M) numbers, (N,)."""
        return (evidence - self.middle) @ self.slope


def _log_normal(deviations: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log-density up to a constant that depends on the dimension alone, (N,)."""
    squares = (deviations @ np.linalg.inv(covariance) * deviations).sum(1)
    return -0.5 * squares - 0.5 * np.linalg.slogdet(covariance)[1]


@dataclass(frozen=True)
class TeacherDomainModel:
    """One teacher's view, fitted to a belief: turns what it says of any text into a log-likelihood ratio.

    Attributes:
        scale: Of its features over the pool; None without features.
        classes: Where its classes lie among the scaled features; None without features.
        background: Where all texts of the pool lie, as one class; None if closeness is not relative to it.
        sureness: Whether it is one of the numbers.
        normals: Own and foreign texts by those numbers.
    """

    ARRAYS: ClassVar[tuple[str, ...]] = (
        "slope", "middle", "sureness", "mean", "spread",
        "whiten", "centres", "background_whiten", "background_centres",
    )  # fmt: skip

    scale: Standardizer | None
    classes: MahalanobisModel | None
    background: MahalanobisModel | None
    neg_log_entropy: bool
    normals: DomainLDA

    def features(self, view: TeacherOutputs) -> np.ndarray | None:
        """Return scaled features of N texts, (N, F)."""
        return None if self.scale is None or view.features is None else self.scale.apply(view.features)

    def ratio(self, view: TeacherOutputs) -> np.ndarray:
        """Return λ of N texts, (N,)."""
        said = numbers(view, self.features(view), self.classes, self.background, neg_log_entropy=self.neg_log_entropy)
        return self.normals.ratio(said)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the fit as arrays by the names of ``ARRAYS``."""
        found = (
            vars(self.normals) | {"sureness": np.array(self.neg_log_entropy)} | (vars(self.scale) if self.scale else {})
        )
        found |= vars(self.classes) if self.classes else {}
        behind = vars(self.background) if self.background else {}
        return found | {f"background_{name}": value for name, value in behind.items()}

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray | None]) -> TeacherDomainModel:
        """Return the fit that :meth:`arrays` describes; None for what it lacks.

        Raises:
            ValueError: If something is missing.
        """
        slope, middle, neg_log_entropy, mean, spread, *means = (arrays[name] for name in cls.ARRAYS)
        if slope is None or middle is None or neg_log_entropy is None:
            raise ValueError("a teacher's fit is incomplete")
        scale = None if mean is None or spread is None else Standardizer(mean, spread)
        classes, background = (
            None if whiten is None or centres is None else MahalanobisModel(whiten, centres)
            for whiten, centres in (means[:2], means[2:])
        )
        return cls(scale, classes, background, bool(neg_log_entropy), DomainLDA(slope, middle))


def numbers(
    view: TeacherOutputs,
    features: np.ndarray | None,
    classes: MahalanobisModel | None,
    background: MahalanobisModel | None,
    *,
    neg_log_entropy: bool,
) -> np.ndarray:
    """Return what a teacher's ratio is of, (N, M).

    Energy, if asked for sureness (minus the log of the entropy) and, if it has features, closeness: minus the log of
    the distance to the nearest class, plus that of the distance to the background if there is one (Ren et al. 2021).
    """
    columns = [view.energy.astype(np.float64)]
    if neg_log_entropy:
        columns.append(-np.log(np.maximum(entropy(view.probabilities), LEAST_ENTROPY)))
    if features is not None and classes is not None:
        behind = 0.0 if background is None else np.log(background.nearest(features))
        columns.append(behind - np.log(classes.nearest(features)))
    return np.stack(columns, axis=1)
