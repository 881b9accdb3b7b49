"""Whose text is this? Ownership judged over the whole pool by expectation–maximisation, without a label.

Every text is taken to belong to one hidden owner among the T teachers. Two views speak of it. The teachers' view: for
each teacher, how far the text's features lie from the teacher's own classes, and its energy; own and foreign texts are
modelled as two normal distributions with a common covariance, whose log-likelihood ratio λ_t puts all teachers on one
scale whatever the size of their label sets. The text's view: a gate, logistic regression from the text's embedding to
the owner, always applied to texts it was not fitted on. The posterior is softmax(gate + λ); both views are fitted to
the posterior of the round before, starting from the standardised evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

FOLDS = 5
FIT_ON = 20_000
ROUNDS = 8
SHRINKAGE = 0.1
FLOOR = 1e-3


@dataclass(frozen=True)
class TeacherView:
    """What one teacher says of N texts.

    Attributes:
        probabilities: Deterministic softmax, (N, C).
        energy: logsumexp of the logits, (N,).
        features: What its classifier reads, (N, F), or None.
    """

    probabilities: np.ndarray
    energy: np.ndarray
    features: np.ndarray | None


@dataclass(frozen=True)
class Ownership:
    """The verdict on N texts and T teachers.

    Attributes:
        posterior: Probability of each teacher to own the text, (N, T), rows summing to one.
        evidence: Log-likelihood ratios of the teachers' view, (N, T).
        gate: Log-probabilities of the text's view, (N, T); zeros without embeddings.
    """

    posterior: np.ndarray
    evidence: np.ndarray
    gate: np.ndarray

    @property
    def agreement(self) -> float:
        """Cohen's kappa of the two views' choices: 1 if they always agree, 0 if no more than by chance."""
        first, second = self.evidence.argmax(1), self.gate.argmax(1)
        teachers = self.posterior.shape[1]
        share = np.array([[(view == t).mean() for t in range(teachers)] for view in (first, second)])
        chance = float((share[0] * share[1]).sum())
        return float(((first == second).mean() - chance) / (1 - chance)) if chance < 1 else 0.0


def _softmax(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values).softmax(-1).numpy()


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / (values.std(0) + 1e-9)


def class_closeness(features: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Minus the log of the squared Mahalanobis distance to the nearest class mean.

    Means and the common within-class covariance (shrunk towards a multiple of the identity) are of the texts weighted
    by ``weight``, the belief that the teacher owns them, classes by ``probabilities``.

    Args:
        features: (N, F).
        probabilities: The teacher's softmax, (N, C).
        weight: (N,), non-negative.
    """
    share = weight[:, None] * probabilities
    mass = share.sum(0)
    seen = mass > 1e-6 * mass.sum()
    means = (share[:, seen].T @ features) / mass[seen, None]
    nearest = probabilities[:, seen].argmax(1)
    scatter = features - means[nearest]
    covariance = (scatter * weight[:, None]).T @ scatter / weight.sum()
    size = covariance.shape[0]
    level = np.trace(covariance) / size + 1e-12
    whiten = np.linalg.inv(np.linalg.cholesky((1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(size)))
    points, centres = features @ whiten.T, means @ whiten.T
    squares = (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)
    return -np.log(np.maximum(squares.min(1), 1e-9))


def likelihood_ratio(evidence: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of own against foreign, both normal with a common covariance (linear discriminant).

    Args:
        evidence: (N, M) scalars of one teacher.
        weight: Belief that it owns each text, (N,), in (0, 1).
    """
    foreign = 1 - weight
    own_mean = weight @ evidence / weight.sum()
    foreign_mean = foreign @ evidence / foreign.sum()
    own, other = evidence - own_mean, evidence - foreign_mean
    covariance = ((own * weight[:, None]).T @ own + (other * foreign[:, None]).T @ other) / len(evidence)
    covariance += 1e-6 * (np.trace(covariance) + 1e-12) * np.eye(len(covariance))
    slope = np.linalg.solve(covariance, own_mean - foreign_mean)
    return (evidence - (own_mean + foreign_mean) / 2) @ slope


class Gate:
    """Cross-fitted multinomial logistic regression from embeddings to owners, L2-regularised, warm-started.

    Args:
        embeddings: (N, D).
        ids: Text ids, (N,), uint64; they deal the texts to folds.
        teachers: T.
    """

    def __init__(self, embeddings: np.ndarray, ids: np.ndarray, teachers: int) -> None:
        scaled = 10 * _standardised(embeddings) / np.sqrt(embeddings.shape[1])
        inputs = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
        self.inputs = torch.from_numpy(inputs.astype(np.float32))
        self.folds = (ids % FOLDS).astype(np.int64)
        self.order = np.argsort(ids, kind="stable")
        self.weights = [torch.zeros(self.inputs.shape[1], teachers, dtype=torch.float64) for _ in range(FOLDS)]

    def predict(self, targets: np.ndarray) -> np.ndarray:
        """Fit to soft targets (N, T); return held-out log-probabilities (N, T)."""
        result = np.zeros_like(targets)
        for fold in range(FOLDS):
            held = np.flatnonzero(self.folds == fold)
            # Ids are hashes, so the first texts in their order are a random sample.
            fitted = self.order[self.folds[self.order] != fold][:FIT_ON]
            if not len(held) or not len(fitted):
                continue
            goal = torch.from_numpy(targets[fitted])
            self.weights[fold] = self._fit(self.inputs[fitted].double(), goal, self.weights[fold])
            result[held] = (self.inputs[held] @ self.weights[fold].float()).double().log_softmax(-1).numpy()
        return result

    @staticmethod
    def _fit(inputs: torch.Tensor, goal: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        weights = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([weights], max_iter=30, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = -(goal * (inputs @ weights).log_softmax(-1)).sum() + 0.5 * (weights[:-1] ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return weights.detach()


def judge_ownership(
    views: Sequence[TeacherView], embeddings: np.ndarray | None, ids: np.ndarray, rounds: int = ROUNDS
) -> Ownership:
    """Estimate who owns each text of a pool.

    Args:
        views: One a teacher, T of them, N texts each.
        embeddings: Embeddings of the texts, (N, D), or None to use the teachers' view alone.
        ids: Text ids, (N,), uint64: they deal the texts to folds, so their order does not matter.
        rounds: Rounds of expectation–maximisation.
    """
    features = [None if view.features is None else _standardised(view.features.astype(np.float64)) for view in views]

    def evidence(teacher: int, weight: np.ndarray) -> np.ndarray:
        columns = [views[teacher].energy.astype(np.float64)]
        vectors = features[teacher]
        if vectors is not None:
            columns.append(class_closeness(vectors, views[teacher].probabilities.astype(np.float64), weight))
        return np.stack(columns, axis=1)

    count, teachers = len(ids), len(views)
    everyone = np.ones(count)
    start = [_standardised(evidence(t, everyone)).sum(1) for t in range(teachers)]
    posterior = _softmax(_standardised(np.stack(start, axis=1)))
    gate = Gate(embeddings, ids, teachers) if embeddings is not None else None
    prior = np.zeros((count, teachers))
    for _ in range(rounds):
        belief = np.clip(posterior, FLOOR, 1 - FLOOR)
        ratios = [likelihood_ratio(evidence(t, belief[:, t]), belief[:, t]) for t in range(teachers)]
        ratio = np.stack(ratios, axis=1)
        posterior = _softmax(prior + ratio)
        if gate is not None:
            prior = gate.predict(posterior)
            posterior = _softmax(prior + ratio)
    return Ownership(posterior, ratio, prior)
