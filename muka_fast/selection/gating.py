"""A gate: cross-fitted logistic regression from a text's vector to its owner."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch

from muka_fast.runtime.numerics import row_chunks
from muka_fast.runtime.softmax_regression import fit_softmax_regression
from muka_fast.selection.ood_scores import (
    Standardizer,
)

FOLDS = 5
FIT_ON = 20_000
ITERATIONS = 10
"""Of a gate's fit in each round: to go on until it stands chose no better and took three times as long."""


@dataclass(frozen=True)
class FittedGate:
    """Fitted gates, one a fold, for vectors that none of them was fitted on.

    Attributes:
        scale: Of the vectors' columns over the pool.
        weights: (FOLDS, D + 1, owners).
    """

    scale: Standardizer
    weights: torch.Tensor

    def inputs(self, vectors: Sequence[np.ndarray]) -> torch.Tensor:
        """Return standardised vectors, side by side, of about length 10 and a one, (N, D + 1) fp32."""
        count, width, place = len(vectors[0]), len(self.scale.mean), 0
        result = torch.ones(count, width + 1)
        for block in vectors:
            columns = slice(place, place := place + block.shape[1])
            scale = Standardizer(self.scale.mean[columns], self.scale.spread[columns])
            for rows in row_chunks(count):
                scaled = 10 * scale.apply(block[rows]) / np.sqrt(width)
                result[rows, columns] = torch.from_numpy(scaled.astype(np.float32))
        return result

    def apply(self, vectors: Sequence[np.ndarray]) -> np.ndarray:
        """Return log-probabilities of the owners, (N, owners): the folds' mean, normalised."""
        logits = torch.einsum("nd,fdo->fno", self.inputs(vectors), self.weights).double()
        return logits.log_softmax(-1).mean(0).log_softmax(-1).numpy()


class GatingNetwork:
    """Multinomial logistic regression from vectors to owners, L2-regularised, warm-started.

    Args:
        vectors: What is known of each text, (N, D₁), (N, D₂) …; each column is standardised.
        ids: Text ids, (N,), uint64; they deal the texts to folds.
        owners: How many may own a text.
    """

    def __init__(self, vectors: Sequence[np.ndarray], ids: np.ndarray, owners: int) -> None:
        scales = [Standardizer.of(block) for block in vectors]
        scale = Standardizer(*(np.concatenate([getattr(one, name) for one in scales]) for name in ("mean", "spread")))
        self.model = FittedGate(scale, torch.zeros(FOLDS, len(scale.mean) + 1, owners))
        self.inputs = self.model.inputs(vectors)
        self.folds = (ids % FOLDS).astype(np.int64)
        self.order = np.argsort(ids, kind="stable")

    def reset(self) -> GatingNetwork:
        """Return a gate of the same vectors that knows nothing yet."""
        fresh = copy(self)
        fresh.model = FittedGate(self.model.scale, torch.zeros_like(self.model.weights))
        return fresh

    def predict(self, targets: np.ndarray) -> np.ndarray:
        """Fit to soft targets (N, owners); return held-out log-probabilities (N, owners)."""
        result, weights = np.zeros_like(targets), self.model.weights
        for fold in range(FOLDS):
            held = np.flatnonzero(self.folds == fold)
            # Ids are hashes, so the first texts in their order are a random sample.
            fitted = self.order[self.folds[self.order] != fold][:FIT_ON]
            if not len(fitted):
                continue
            goal = torch.from_numpy(targets[fitted]).float()
            weights[fold], _ = fit_softmax_regression(
                self.inputs[fitted], goal, weights[fold], l2=1.0, max_iter=ITERATIONS, constant_input=True
            )
            result[held] = (self.inputs[held] @ weights[fold]).double().log_softmax(-1).numpy()
        return result
