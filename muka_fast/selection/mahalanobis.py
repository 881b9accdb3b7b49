"""Mahalanobis distances to a teacher's class means (Lee et al. 2018, arXiv 1807.03888)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINKAGE = 0.1
"""Of the covariance towards a multiple of the identity."""


def whitening(deviations: np.ndarray, shrinkage: float = SHRINKAGE, weight: np.ndarray | None = None) -> np.ndarray:
    """Return the matrix that whitens deviations from their means, (F, F), after shrinkage of the covariance.

    Args:
        deviations: (N, F).
        shrinkage: Towards a multiple of the identity, 0 to 1.
        weight: Of each row, (N,); default: all alike.
    """
    weighted = deviations if weight is None else deviations * weight[:, None]
    covariance = weighted.T @ deviations / (max(1, len(deviations)) if weight is None else weight.sum())
    level = np.trace(covariance) / len(covariance) + 1e-12
    shrunk = (1 - shrinkage) * covariance + shrinkage * level * np.eye(len(covariance))
    return np.linalg.inv(np.linalg.cholesky(shrunk)).T


def squared_distances(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Return the squared Euclidean distances of (N, F) points and (K, F) centres, (N, K)."""
    squares = (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)
    return np.maximum(squares, 0)


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
            weight: How much a text counts at all, (N,), non-negative.
        """
        share = weight[:, None] * probabilities
        mass = share.sum(0)
        seen = mass > 1e-6 * mass.sum()
        means = (share[:, seen].T @ features) / mass[seen, None]
        scatter = features - means[probabilities[:, seen].argmax(1)]
        whiten = whitening(scatter, weight=weight)
        return cls(whiten, means @ whiten)

    def nearest(self, features: np.ndarray) -> np.ndarray:
        """Return the squared Mahalanobis distance of (N, F) features to the nearest class mean, (N,)."""
        return np.maximum(squared_distances(features @ self.whiten, self.centres).min(1), 1e-9)
