"""Mahalanobis distances to a teacher's class means (Lee et al. 2018, arXiv 1807.03888)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINKAGE = 0.1
"""Of the covariance towards a multiple of the identity."""


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
