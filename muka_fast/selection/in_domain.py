"""Which teacher is in-domain for each text of a pool: learned evidence, diffusion, class prototypes, posterior.

1. Evidence of each (text, teacher), :mod:`~muka_fast.selection.evidence`, and the same diffused over the graphs of
   the texts' nearest neighbours, :mod:`~muka_fast.selection.views`.
2. A conditional logit with learned weights scores the teachers, :mod:`~muka_fast.selection.conditional_logit`.
3. Class prototypes in the same views, fitted to that first choice, :mod:`~muka_fast.selection.prototypes`; a
   second conditional logit scores with them. The posterior is its softmax.

The choice is fed back once, to fit the prototypes, so errors cannot build up. Statistics are fitted to a reference
sample of the pool; every other text is compared with them by itself. So memory is that of the sample, cost grows with
the number of texts, and texts that come later (test texts, an ensemble's) are judged by the pool that was there.

The weights are learned with each owner's texts weighing alike, for recall. On a pool with few texts of one teacher, a
rule that never chooses this teacher is right for most texts, and the student never learns the teacher's classes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import softmax

from muka_fast.runtime.mapped import mapped_chunks
from muka_fast.selection.conditional_logit import LogitWeights
from muka_fast.selection.evidence import NameStatistics, TeacherEvidence
from muka_fast.selection.few_labels import Known, LabelCorrection, RuleOutput
from muka_fast.selection.first_stage import FirstStage, join_numbers, standardised_names
from muka_fast.selection.ngrams import NgramSpace
from muka_fast.selection.prototypes import Prototypes
from muka_fast.selection.reliability import Reliability, estimate, measure_signs
from muka_fast.selection.texts import Texts
from muka_fast.selection.views import Views

SHARE_STEP = 0.15
MODEL_FILE = "selection.npz"
"""Name of an :class:`InDomainModel` beside the student."""
REFERENCE = 6000
"""Texts of the sample that statistics are fitted to."""
CHUNK = 4096


@dataclass(frozen=True)
class InDomainModel:
    """The rule, fitted to a reference sample of a pool.

    Attributes:
        weights: Of the two conditional logits.
        teachers: Each teacher's statistics.
        names: Statistics of the class names; None where they are not compared.
        name_weight: How much class names count, from 0 (they say nothing about the anchors) to 1.
        views: Where neighbours are looked for.
        diffused: Diffused numbers of the sample, (M, T · F).
        prototypes: None where no class has anchors.
        shift: Of each teacher's score, from its share of the sample, (T,).
        signs: Label-free signs of the reliability, :data:`~muka_fast.selection.reliability.SIGNS`.
        ngrams: Made the text vectors; None where an encoder did, or where there are none.
        correction: By labelled texts and known shares; None without them.
    """

    weights: LogitWeights
    teachers: tuple[TeacherEvidence, ...]
    names: NameStatistics | None
    name_weight: float
    views: Views
    diffused: np.ndarray
    prototypes: Prototypes | None
    shift: np.ndarray
    signs: np.ndarray
    ngrams: NgramSpace | None = None
    correction: LabelCorrection | None = None

    @classmethod
    def fit(cls, texts: Texts, weights: LogitWeights) -> tuple[InDomainModel, RuleOutput]:
        """Fit the rule to a reference sample, without labels.

        Returns:
            The model, and what it found of the sample.
        """
        stage = FirstStage.fit(texts, weights.numbers)
        first = weights.first_score(stage.values, stage.diffused)
        prototypes, second = stage.prototypes(first)
        score = weights.second_score(first, second)
        shift = share_shift(score)
        score = score + shift
        purity = 0.0 if prototypes is None else prototypes.purity
        signs = measure_signs(stage.matrix, softmax(score, axis=1), first, purity)
        diffused = stage.diffused.reshape(len(texts), -1).astype(np.float32)
        model = cls(
            weights,
            stage.teachers,
            stage.names,
            stage.name_weight,
            stage.views,
            diffused,
            prototypes,
            shift,
            signs,
        )
        return model, RuleOutput(score, last_numbers(first, second), stage.vectors, stage.predicted)

    @property
    def reliability(self) -> Reliability | None:
        """How far the choice for the reference sample can be relied on; None where no estimate holds."""
        if not self.weights.reliability:
            return None
        return estimate(self.signs, self.weights.reliability, self.weights.lowest)

    def apply(self, texts: Texts) -> np.ndarray:
        """Return scores of texts outside the sample, (N, T), each by itself."""
        result = np.empty((len(texts), len(self.teachers)))
        for rows in mapped_chunks(len(texts), CHUNK):
            result[rows] = self.correct(self.apply_rule(texts.take(rows)))
        return result

    def apply_rule(self, texts: Texts) -> RuleOutput:
        """Return what the rule finds of texts outside the sample, each by itself, without the correction."""
        scaled, standard = standardised_names(self.names, texts)
        numbers = [
            fit.apply(logits, features, None if scaled is None else scaled[:, columns])
            for fit, logits, features, columns in zip(
                self.teachers, texts.logits, texts.features, texts.columns, strict=True
            )
        ]
        values = join_numbers(numbers, self.weights.numbers, texts, standard, self.name_weight)
        places = self.views.apply(texts)
        diffused = self.views.attach(places, values.reshape(len(values), -1), self.diffused)
        first = self.weights.first_score(values, diffused.reshape(values.shape))
        vectors, second = self.views.join(places, standard), None
        if self.prototypes is not None:
            second = self.prototypes.apply(vectors, texts.predicted)
        score = self.weights.second_score(first, second) + self.shift
        return RuleOutput(score, last_numbers(first, second), vectors, texts.predicted)

    def correct(self, found: RuleOutput) -> np.ndarray:
        """Return the scores that the rule found, (N, T), corrected by labels and known shares."""
        return found.score if self.correction is None else self.correction.apply(found)


def last_numbers(first: np.ndarray, second: np.ndarray | None) -> np.ndarray:
    """Put the first score, (N, T), and the prototypes' numbers, (N, T, P), side by side."""
    return first[:, :, None] if second is None else np.concatenate([first[:, :, None], second], axis=2)


def share_shift(score: np.ndarray, step: float = SHARE_STEP) -> np.ndarray:
    """Return a damped step of each teacher's score towards its own share of the pool, (T,).

    The fixed point of π = mean softmax(score + a ln π), less its mean, with a = ``step``. Evidence is learned with
    owners weighing alike; the step takes back a little of that.
    """
    teachers = score.shape[1]
    share = np.full(teachers, 1 / teachers)
    for _ in range(60):
        share = softmax(score + step * np.log(share), axis=1).mean(0)
    return step * (np.log(share) - np.log(share).mean())


def judge_pool(
    texts: Texts,
    ids: np.ndarray,
    weights: LogitWeights,
    reference: int = REFERENCE,
    known: Known | None = None,
    chunk: int = CHUNK,
) -> tuple[InDomainModel, np.ndarray]:
    """Fit the rule to a pool, and score all of its texts.

    Args:
        texts: N texts.
        ids: Text ids, (N,): hashes, so the first texts in their order are a random sample.
        weights: For the kind of evidence that there is.
        reference: Texts of the sample that the rule is fitted to, at most; texts with labels are added to them.
        known: What is known of the pool; None if nothing is.
        chunk: Texts outside the sample that are read at once.

    Returns:
        The model, and scores (N, T): log posterior up to a constant of each text.
    """
    sample = np.argsort(ids, kind="stable")[:reference]
    sample = np.sort(sample) if known is None else np.union1d(sample, known.rows)
    model, own = InDomainModel.fit(texts.take(sample), weights)
    if known is not None:
        classes = [one.shape[1] for one in texts.logits]
        model = replace(model, correction=LabelCorrection.fit(own, known.within(sample), classes))
    scores = np.empty((len(texts), len(texts.logits)))
    rule = scores if model.correction is None else np.empty_like(scores)
    scores[sample], rule[sample] = model.correct(own), own.score
    others = np.setdiff1d(np.arange(len(texts)), sample, assume_unique=True)
    for rows in mapped_chunks(len(others), chunk):
        found = model.apply_rule(texts.take(others[rows]))
        scores[others[rows]], rule[others[rows]] = model.correct(found), found.score
    if known is not None and model.correction is not None:
        model = replace(model, correction=model.correction.count_changes(rule, scores, known))
    return model, scores
