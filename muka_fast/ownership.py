"""Whose text is this? Ownership judged over the whole pool by expectation–maximisation, without a label.

Every text is taken to belong to one hidden owner, one of the T teachers or nobody. Two views speak of it. The teachers'
view: for each teacher, how far the text's features lie from the teacher's own classes, and its energy; own and foreign
texts are modelled as two normal distributions with a common covariance, the own one nearer and of higher energy, whose
log-likelihood ratio λ_t puts all teachers on one scale whatever the size of their label sets; to nobody, λ = 0. The
text's view: a gate, logistic regression from the text's vector to the
owner, always applied to texts it was not fitted on.

Expectation–maximisation finds a local optimum, and pools in which one teacher owns most texts have several: so the
teachers' view alone is fitted from several starts, with shares of the pool as prior, and the start is kept whose owners
explain best both what the teachers say (likelihood) and, through a gate on the embeddings, which text says it. From
there a gate on embeddings and features is the prior, posterior = softmax(gate + λ), and both are fitted to the
posterior of the round before. An embedding that hardly knows the owners that the teachers' view found is no support for
them, and the verdict says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np
import torch

FOLDS = 5
FIT_ON = 20_000
ROUNDS_ALONE, ROUNDS_TOGETHER = 12, 6
ITERATIONS = 10
"""Of a gate's fit in each round: to go on until it stands chose no better and took three times as long."""
SHRINKAGE = 0.1
FLOOR = 1e-3
LEAST_SHARE = 0.01
NOBODY = 0.05
"""Share of foreign texts to start from."""
SLIGHT = 0.2
"""Cohen's kappa up to which agreement is called slight (Landis and Koch 1977)."""


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

    def take(self, indices: np.ndarray) -> TeacherView:
        """Return the texts at ``indices``."""
        features = None if self.features is None else self.features[indices]
        return TeacherView(self.probabilities[indices], self.energy[indices], features)


@dataclass(frozen=True)
class Ownership:
    """The verdict on N texts and T teachers.

    Attributes:
        posterior: Probability of each teacher to own the text if anybody does, (N, T), rows summing to one.
        nobody: Probability that nobody does, (N,).
        evidence: Log-likelihood ratios of the teachers' view, (N, T).
        gate: Log-probabilities of the text's view, (N, T); zeros if there is neither embedding nor feature.
        agreement: Cohen's kappa of the owners by the teachers' view alone and by a gate that knows the embeddings
            alone, on texts it was not fitted on: 1 if they always agree, 0 if no more than by chance; None without
            embeddings.
    """

    posterior: np.ndarray
    nobody: np.ndarray
    evidence: np.ndarray
    gate: np.ndarray
    agreement: float | None = None

    @property
    def is_unsure(self) -> bool:
        """Whether the two views agree but slightly."""
        return self.agreement is not None and self.agreement <= SLIGHT


def kappa(first: np.ndarray, second: np.ndarray) -> float:
    """Cohen's kappa of two labellings, (N,) each; 0 if both give all texts one label."""
    labels = np.union1d(first, second)
    chance = sum(float((first == label).mean() * (second == label).mean()) for label in labels)
    return (float((first == second).mean()) - chance) / (1 - chance) if chance < 1 else 0.0


def _softmax(values: np.ndarray) -> np.ndarray:
    return torch.from_numpy(values).softmax(-1).numpy()


def _standardised(values: np.ndarray) -> np.ndarray:
    return (values - values.mean(0)) / (values.std(0) + 1e-9)


def nearest_distance(features: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Squared Mahalanobis distance to the nearest class mean, (N,).

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
    return np.maximum(squares.min(1), 1e-9)


def class_closeness(features: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Minus the log of :func:`nearest_distance`."""
    return -np.log(nearest_distance(features, probabilities, weight))


@dataclass(frozen=True)
class TwoNormals:
    """Own and foreign texts of one teacher, each normally distributed, with a common covariance.

    Numbers that are not larger for own texts say nothing: they are left out.

    Attributes:
        ratio: Log-likelihood ratio of own against foreign, (N,): a linear discriminant.
        gain: Log-likelihood ratio of foreign against one normal distribution for all texts, (N,).
    """

    ratio: np.ndarray
    gain: np.ndarray

    @classmethod
    def fit(cls, evidence: np.ndarray, weight: np.ndarray) -> TwoNormals:
        """Fit both.

        Args:
            evidence: (N, M) scalars of one teacher, larger the more a text seems its own.
            weight: Belief that it owns each text, (N,), in (0, 1).
        """
        foreign = 1 - weight
        own_mean, foreign_mean = weight @ evidence / weight.sum(), foreign @ evidence / foreign.sum()
        larger = own_mean > foreign_mean
        if not larger.any():
            return cls(np.zeros(len(evidence)), np.zeros(len(evidence)))
        evidence, own_mean, foreign_mean = evidence[:, larger], own_mean[larger], foreign_mean[larger]
        own, other, all_ = evidence - own_mean, evidence - foreign_mean, evidence - evidence.mean(0)
        within = ((own * weight[:, None]).T @ own + (other * foreign[:, None]).T @ other) / len(evidence)
        total = all_.T @ all_ / len(evidence)
        ridge = 1e-6 * (np.trace(within) + 1e-12) * np.eye(len(within))
        slope = np.linalg.solve(within + ridge, own_mean - foreign_mean)
        ratio = (evidence - (own_mean + foreign_mean) / 2) @ slope
        return cls(ratio, _log_normal(other, within + ridge) - _log_normal(all_, total + ridge))


def _log_normal(deviations: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log-density up to a constant that depends on the dimension alone, (N,)."""
    squares = (deviations @ np.linalg.inv(covariance) * deviations).sum(1)
    return -0.5 * squares - 0.5 * np.linalg.slogdet(covariance)[1]


class _TeachersView:
    """The scalars of all teachers, and the round of fitting them to a belief."""

    def __init__(self, views: Sequence[TeacherView], features: Sequence[np.ndarray | None]) -> None:
        self._views, self._features = views, features

    def evidence(self, teacher: int, weight: np.ndarray) -> np.ndarray:
        """Return a teacher's energy and, if it has features, closeness, (N, M)."""
        view, features = self._views[teacher], self._features[teacher]
        columns = [view.energy.astype(np.float64)]
        if features is not None:
            columns.append(class_closeness(features, view.probabilities.astype(np.float64), weight))
        return np.stack(columns, axis=1)

    def fit(self, posterior: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return λ, nobody's zeros last, (N, T + 1), and the sum over teachers of the gains, (N,)."""
        belief = np.clip(posterior[:, :-1], FLOOR, 1 - FLOOR)
        found = [TwoNormals.fit(self.evidence(t, own), own) for t, own in enumerate(belief.T)]
        return _and_nobody(np.stack([one.ratio for one in found], axis=1)), np.sum([one.gain for one in found], axis=0)

    def alone(self, start: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where a start leads without the text's view: the posterior, and the λ and gains it comes from."""
        posterior = start
        for _ in range(ROUNDS_ALONE):
            ratio, gain = self.fit(posterior)
            posterior = _softmax(_log_shares(posterior) + ratio)
        return posterior, ratio, gain

    def starts(self) -> list[np.ndarray]:
        """Return posteriors to start from, (N, T + 1).

        By standardised evidence; by the same, leaning to each teacher; by confidence; and by evidence against nobody's.
        """
        everyone = np.ones(len(self._views[0].energy))
        summed = [_standardised(self.evidence(t, everyone)).sum(1) for t in range(len(self._views))]
        evidence = np.stack(summed, axis=1)
        standard = _standardised(evidence)
        doubt = [np.log(np.maximum(1 - view.probabilities.max(1), 1e-6)) for view in self._views]
        of_teachers = [
            standard,
            *(2 * standard + 2.5 * towards for towards in np.eye(len(self._views))),
            -np.stack(doubt, axis=1).astype(np.float64),
        ]
        few = np.full((len(everyone), 1), NOBODY)
        belief = [np.concatenate([(1 - NOBODY) * _softmax(start), few], axis=1) for start in of_teachers]
        return [*belief, _softmax(2 * _and_nobody(evidence))]


def _and_nobody(ratio: np.ndarray) -> np.ndarray:
    return np.concatenate([ratio, np.zeros((len(ratio), 1))], axis=1)


def _log_shares(posterior: np.ndarray) -> np.ndarray:
    least = np.full(posterior.shape[1], LEAST_SHARE)
    least[-1] = FLOOR  # there need not be foreign texts
    return np.log(np.maximum(posterior.mean(0), least))


class Gate:
    """Cross-fitted multinomial logistic regression from vectors to owners, L2-regularised, warm-started.

    Args:
        vectors: (N, D); each column is standardised.
        ids: Text ids, (N,), uint64; they deal the texts to folds.
        owners: How many may own a text.
    """

    def __init__(self, vectors: np.ndarray, ids: np.ndarray, owners: int) -> None:
        scaled = 10 * _standardised(vectors) / np.sqrt(vectors.shape[1])
        inputs = np.concatenate([scaled, np.ones((len(scaled), 1))], axis=1)
        self.inputs = torch.from_numpy(inputs.astype(np.float32))
        self.folds = (ids % FOLDS).astype(np.int64)
        self.order = np.argsort(ids, kind="stable")
        self.weights = [torch.zeros(self.inputs.shape[1], owners) for _ in range(FOLDS)]

    def anew(self) -> Gate:
        """Return a gate of the same vectors that knows nothing yet."""
        fresh = copy(self)
        fresh.weights = [torch.zeros_like(weights) for weights in self.weights]
        return fresh

    def predict(self, targets: np.ndarray) -> np.ndarray:
        """Fit to soft targets (N, owners); return held-out log-probabilities (N, owners)."""
        result = np.zeros_like(targets)
        for fold in range(FOLDS):
            held = np.flatnonzero(self.folds == fold)
            # Ids are hashes, so the first texts in their order are a random sample.
            fitted = self.order[self.folds[self.order] != fold][:FIT_ON]
            if not len(held) or not len(fitted):
                continue
            goal = torch.from_numpy(targets[fitted]).float()
            self.weights[fold] = self._fit(self.inputs[fitted], goal, self.weights[fold])
            result[held] = (self.inputs[held] @ self.weights[fold]).double().log_softmax(-1).numpy()
        return result

    @staticmethod
    def _fit(inputs: torch.Tensor, goal: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        weights = start.clone().requires_grad_()
        optimizer = torch.optim.LBFGS([weights], max_iter=ITERATIONS, line_search_fn="strong_wolfe")

        def closure() -> torch.Tensor:
            optimizer.zero_grad()
            loss = -(goal * (inputs @ weights).log_softmax(-1)).sum() + 0.5 * (weights[:-1] ** 2).sum()
            loss.backward()
            return loss

        optimizer.step(closure)
        return weights.detach()


def judge_ownership(views: Sequence[TeacherView], embeddings: np.ndarray | None, ids: np.ndarray) -> Ownership:
    """Estimate who owns each text of a pool.

    Args:
        views: One a teacher, T of them, N texts each.
        embeddings: Embeddings of the texts, (N, D), or None.
        ids: Text ids, (N,), uint64: they deal the texts to folds, so their order does not matter.
    """
    # Ids are hashes, so the first texts in their order are a random sample.
    sample = np.sort(np.argsort(ids, kind="stable")[:FIT_ON])
    part = None if embeddings is None else embeddings[sample]
    start, agreement = _best_start([view.take(sample) for view in views], part, ids[sample])
    features = _standard_features(views)
    told = _TeachersView(views, features)
    posterior, ratio, _ = told.alone(told.starts()[start])
    prior, known = np.zeros_like(posterior), [one for one in (embeddings, *features) if one is not None]
    if known:
        gate = Gate(np.concatenate(known, axis=1), ids, len(views) + 1)
        for _ in range(ROUNDS_TOGETHER):
            ratio, prior = told.fit(posterior)[0], gate.predict(posterior)
            posterior = _softmax(prior + ratio)
    owned = np.maximum(posterior[:, :-1], np.finfo(np.float64).tiny)
    return Ownership(owned / owned.sum(1, keepdims=True), posterior[:, -1], ratio[:, :-1], prior[:, :-1], agreement)


def _best_start(
    views: Sequence[TeacherView], embeddings: np.ndarray | None, ids: np.ndarray
) -> tuple[int, float | None]:
    """Return the most likely start's index, and how far a gate on the embeddings agrees with what it leads to."""
    features = _standard_features(views)
    told = _TeachersView(views, features)
    known = [one for one in features if one is not None] if embeddings is None else [embeddings]
    gate = Gate(np.concatenate(known, axis=1), ids, len(views) + 1) if known else None
    best, index, agreement = -np.inf, 0, None
    for number, start in enumerate(told.starts()):
        found, ratio, gain = told.alone(start)
        prior = _log_shares(found)[None] if gate is None else gate.anew().predict(found)
        likelihood = float((np.logaddexp.reduce(prior + ratio, axis=1) + gain).mean())
        if number == 0 or likelihood > best:
            best, index = likelihood, number
            if embeddings is not None:
                agreement = kappa(prior[:, :-1].argmax(1), found[:, :-1].argmax(1))
    return index, agreement


def _standard_features(views: Sequence[TeacherView]) -> list[np.ndarray | None]:
    return [None if view.features is None else _standardised(view.features.astype(np.float64)) for view in views]
