"""The in-domain rule corrected by a few labelled texts and by shares that are known.

The rule's score s (N, T) is the mean of a Gaussian process; the labels of n texts correct it:
score = a · s + f, with f_t = offset + class offset + slopes · numbers + g(place). Offset: of the teacher. Class offset:
of the teacher's predicted class. Numbers: what the rule's last stage reads. g: smooth in the space of the prototypes.
All have zero mean and fixed prior variances, so with few labels the correction is small, and without labels it is none.
The maximum a posteriori is found by kernel logistic regression (Rasmussen and Williams 2006, sections 3.4 and 3.5).

Known shares shift the score first, by the offsets with which the mean of softmax(score + ln π) over the pool comes near
to the known π.

The rule scores as if all teachers had equally many texts, and labels of a pool do not. Therefore the likelihood of the
labels is that of softmax(score + ln π), π the teachers' shares of the pool, and the score is used without ln π (logit
adjustment, Menon et al. 2021, arXiv 2007.07314). π is the mean posterior over the pool, so it agrees with the fitted
score; known shares replace it. The likelihood is conditional on the texts. Therefore it does not matter how the texts
were chosen, as long as they were chosen by what is known without labels: texts that ``muka-fast ask`` chose need no
weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize
from scipy.special import logsumexp, softmax

from muka_fast.selection.neighbours import unit_rows

OFFSET, CLASS_OFFSET, SLOPES, PLACE = 0.5, 0.5, 0.8, 1.0
"""Prior standard deviations of the parts of f, in units of the score."""
BANDWIDTH = 0.3
"""Cosine distance at which g's correlation has fallen to 1/e."""
LOG_SCALE = 0.3
"""Prior standard deviation of ln a."""
ROUNDS, ITERATIONS = 4, 100
SHARE_EVIDENCE = 300
"""Labelled texts that known shares count like; the prior of the offsets that they ask for has standard deviation 1."""
MIN_SHARE = 1e-4
NO_TEXTS = 50.0
"""What the score of a teacher loses whose known share is 0: more than all other parts of the score."""
JITTER = 1e-4


@dataclass(frozen=True)
class RuleOutput:
    """What the rule found of N texts; T teachers.

    Attributes:
        score: Of each teacher, (N, T): log posterior up to a constant of each text, with teachers weighing alike.
        numbers: What the last stage reads, (N, T, P).
        places: Where prototypes are compared with texts, (N, D).
        predicted: Each teacher's most likely class, as a column of its own, (N, T).
    """

    score: np.ndarray
    numbers: np.ndarray
    places: np.ndarray
    predicted: np.ndarray


@dataclass(frozen=True)
class Known:
    """What is known of a pool.

    Attributes:
        rows: Texts whose class is known, ascending, (n,); there may be none.
        known_by: Which teacher knows the class, (n, T) bool, at least one in each row.
        shares: Shares of the teachers, (T,), NaN where unknown; None if none is known.
    """

    rows: np.ndarray
    known_by: np.ndarray
    shares: np.ndarray | None = None

    def within(self, sample: np.ndarray) -> Known:
        """Return the same for a sample, ascending row numbers, that contains the rows."""
        return replace(self, rows=np.searchsorted(sample, self.rows))


@dataclass(frozen=True)
class LabelCorrection:
    """A fitted correction of the rule's score.

    Attributes:
        changed: Texts of the pool without label for which the correction changed the teacher of the largest score.
        rule_right: Labelled texts for which the rule alone chose a teacher that knows the class.
        scale: Factor of the rule's score.
        offsets: Of each teacher, (T,).
        class_offsets: For each teacher, of its predicted classes, (C_t,).
        slopes: Of each teacher's numbers, (T, P).
        mean: Of each teacher's numbers over the pool, (T, P).
        spread: Of the numbers over pool and teachers, (P,).
        places: Of the labelled texts, rows of length one, (n, D).
        coefficients: Of their neighbourhoods, (n, T).
    """

    changed: int
    rule_right: int
    scale: float
    offsets: np.ndarray
    class_offsets: tuple[np.ndarray, ...]
    slopes: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    places: np.ndarray
    coefficients: np.ndarray

    @classmethod
    def fit(cls, pool: RuleOutput, known: Known, classes: list[int]) -> LabelCorrection:
        """Fit the correction.

        Args:
            pool: A sample of the pool that includes the labelled texts.
            known: What is known of it.
            classes: Number of classes of each teacher.
        """
        rows, shares = known.rows, known.shares
        start = cls._without_labels(pool, known, classes)
        if not len(rows):
            return start
        score = start.apply(pool)
        own_score, predicted = score[rows], pool.predicted[rows].T
        standard = start._standardise(pool.numbers[rows])
        near = np.exp((start.places @ start.places.T - 1) / BANDWIDTH)
        shape = SLOPES**2 / standard.shape[2]
        kernels = [
            OFFSET**2 + CLASS_OFFSET**2 * (own[:, None] == own) + shape * (values @ values.T) + PLACE**2 * near
            for own, values in zip(predicted, standard.transpose(1, 0, 2), strict=True)
        ]
        factors = np.stack([np.linalg.cholesky(one + JITTER * np.eye(len(one))) for one in kernels])
        found, share = start, replace_known(softmax(score, axis=1).mean(0), shares)
        parameters = np.zeros(factors[:, 0].size + 1)
        for _ in range(ROUNDS):
            objective = _objective(own_score, known.known_by, np.log(share), factors)
            options = {"maxiter": ITERATIONS}
            parameters = minimize(objective, parameters, jac=True, method="L-BFGS-B", options=options).x
            whitened = parameters[:-1].reshape(len(factors), -1)
            alpha = np.stack([np.linalg.solve(one.T, own) for one, own in zip(factors, whitened, strict=True)], axis=1)
            scale = float(np.exp(LOG_SCALE * parameters[-1]))
            found = replace(
                start,
                scale=scale,
                offsets=scale * start.offsets + OFFSET**2 * alpha.sum(0),
                class_offsets=tuple(
                    CLASS_OFFSET**2 * np.bincount(own, weight, minlength=count)
                    for own, weight, count in zip(predicted, alpha.T, classes, strict=True)
                ),
                slopes=shape * np.einsum("nt,ntp->tp", alpha, standard),
                coefficients=PLACE**2 * alpha,
            )
            share = replace_known(softmax(found.apply(pool) + np.log(share), axis=1).mean(0), shares)
        return found

    @classmethod
    def _without_labels(cls, pool: RuleOutput, known: Known, classes: list[int]) -> LabelCorrection:
        """Return the correction by known shares alone."""
        teachers, numbers = pool.score.shape[1], pool.numbers - pool.numbers.mean(1, keepdims=True)
        return cls(
            0,
            0,
            1.0,
            np.zeros(teachers) if known.shares is None else share_offsets(pool.score, known.shares),
            tuple(np.zeros(count) for count in classes),
            np.zeros((teachers, numbers.shape[2])),
            numbers.mean(0),
            (numbers - numbers.mean(0)).std((0, 1)) + 1e-9,
            unit_rows(pool.places[known.rows]).astype(np.float64),
            np.zeros((len(known.rows), teachers)),
        )

    def __str__(self) -> str:
        labels = len(self.places)
        basis = f"{labels} labels" if labels else "the known shares"
        line = f"selection: {basis} changed the choice of {self.changed} unlabelled texts"
        return f"{line}; the rule alone was right for {self.rule_right} of the labelled ones" if labels else line

    def apply(self, texts: RuleOutput) -> np.ndarray:
        """Return the corrected scores of N texts, (N, T)."""
        result = self.scale * centred(texts.score) + self.offsets
        for teacher, offsets in enumerate(self.class_offsets):
            result[:, teacher] += offsets[texts.predicted[:, teacher]]
        result += np.einsum("ntp,tp->nt", self._standardise(texts.numbers), self.slopes)
        cosines = unit_rows(texts.places).astype(np.float64) @ self.places.T
        return result + np.exp((cosines - 1) / BANDWIDTH) @ self.coefficients

    def count_changes(self, rule: np.ndarray, corrected: np.ndarray, known: Known) -> LabelCorrection:
        """Return the same with counts from the scores of the whole pool, (N, T), without and with the correction."""
        before, changed = rule.argmax(1), rule.argmax(1) != corrected.argmax(1)
        changed[known.rows] = False
        right = known.known_by[np.arange(len(known.rows)), before[known.rows]]
        return replace(self, changed=int(changed.sum()), rule_right=int(right.sum()))

    def _standardise(self, numbers: np.ndarray) -> np.ndarray:
        """Difference of (N, T, P) numbers from the mean over the teachers, standardised over the pool."""
        return (numbers - numbers.mean(1, keepdims=True) - self.mean) / self.spread


def centred(score: np.ndarray) -> np.ndarray:
    """Return (N, T) scores less the mean of each text."""
    return score - score.mean(1, keepdims=True)


def replace_known(share: np.ndarray, known: np.ndarray | None) -> np.ndarray:
    """Return estimated shares, (T,), with the known ones in their place; the others divide the rest as estimated.

    Args:
        share: (T,), summing to one.
        known: (T,), NaN where unknown, at most one together; None if none is known.
    """
    share = np.maximum(share, MIN_SHARE)
    if known is not None:
        open_ = np.isnan(known)
        share[open_] *= max(1 - float(np.nansum(known)), MIN_SHARE) / max(share[open_].sum(), MIN_SHARE)
        share = np.maximum(np.where(open_, share, known), MIN_SHARE)  # of a share of 0 there is no logarithm
    return share / share.sum()


def share_offsets(score: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the offsets of scores, (T,), of largest posterior density by known shares.

    The shares count like ``SHARE_EVIDENCE`` labels, whose likelihood is that of the mean posterior over the pool.
    Where the posterior is so clear that offsets hardly move its mean, the offsets stay small. A teacher of share 0 is
    never chosen: its offset is −``NO_TEXTS``.

    Args:
        score: With teachers weighing alike, (N, T).
        known: Shares of the teachers, (T,), NaN where unknown.
    """
    absent = known == 0
    if absent.any():
        offsets = np.full(len(known), -NO_TEXTS)
        if not absent.all():
            offsets[~absent] = share_offsets(score[:, ~absent], known[~absent])
        return offsets
    share = replace_known(softmax(score, axis=1).mean(0), known)

    def evaluate(offsets: np.ndarray) -> tuple[float, np.ndarray]:
        posterior = softmax(score + offsets + np.log(share), axis=1)
        found = np.maximum(posterior.mean(0), MIN_SHARE)
        slope = np.diag(found) - posterior.T @ posterior / len(posterior)
        loss = -SHARE_EVIDENCE * share @ np.log(found) + offsets @ offsets / 2
        return float(loss), offsets - SHARE_EVIDENCE * (share / found) @ slope

    return minimize(evaluate, np.zeros(len(share)), jac=True, method="L-BFGS-B").x


def _objective(
    score: np.ndarray, known_by: np.ndarray, log_share: np.ndarray, factors: np.ndarray
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return the negative log posterior, and its gradient, of whitened values of f at the labels, and of ln a.

    Args:
        score: Of the labelled texts, (n, T).
        known_by: (n, T) bool.
        log_share: (T,).
        factors: Cholesky factors of the prior covariances, (T, n, n).
    """
    outside = np.where(known_by, 0.0, -np.inf)
    teachers = score.shape[1]

    def evaluate(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        whitened, scale = parameters[:-1].reshape(teachers, -1), np.exp(LOG_SCALE * parameters[-1])
        total = scale * score + np.einsum("tij,tj->it", factors, whitened) + log_share
        over_all, over_known = logsumexp(total, axis=1), logsumexp(total + outside, axis=1)
        slope = np.exp(total - over_all[:, None]) - np.exp(total + outside - over_known[:, None])
        gradient = np.empty_like(parameters)
        gradient[:-1] = np.einsum("tij,it->tj", factors, slope).ravel()
        gradient[-1] = LOG_SCALE * scale * (slope * score).sum()
        return float((over_all - over_known).sum() + parameters @ parameters / 2), gradient + parameters

    return evaluate
