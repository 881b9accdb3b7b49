"""Which teacher is in-domain for each text of a pool: learned evidence, diffusion, class prototypes, posterior.

1. Evidence of each (text, teacher), :mod:`~muka_fast.selection.evidence`, and the same diffused over the graph of the
   texts' nearest neighbours in the student's encoder, :mod:`~muka_fast.selection.neighbours`.
2. A conditional logit with learned weights scores the teachers, :mod:`~muka_fast.selection.conditional_logit`.
3. Class prototypes in the student's encoder, fitted to that first choice, :mod:`~muka_fast.selection.prototypes`; a
   second conditional logit scores with them. The posterior is its softmax.

No step iterates, so nothing drifts. Statistics are fitted to a reference sample of the pool; every other text is
compared with them by itself. So memory is that of the sample, cost grows with the number of texts, and texts that come
later (test texts, an ensemble's) are judged by the pool that was there.

The weights are learned with each owner's texts weighing alike, for recall. On a pool with few texts of one teacher, a
rule that never chooses this teacher is right for most texts, and the student never learns the teacher's classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix

from muka_fast.runtime.numerics import row_chunks
from muka_fast.selection.conditional_logit import LogitWeights
from muka_fast.selection.evidence import NameStatistics, TeacherEvidence, log_softmax, stack
from muka_fast.selection.neighbours import NeighbourGraph, diffuse, unit_rows
from muka_fast.selection.prototypes import Prototypes
from muka_fast.selection.reliability import Reliability, estimate, measure_signs

SHARE_STEP = 0.15
MODEL_FILE = "selection.npz"
"""Name of an :class:`InDomainModel` beside the student."""
REFERENCE = 6000
"""Texts of the sample that statistics are fitted to."""
CHUNK = 4096
COMPONENTS = 128
"""Principal components of the embeddings."""
FULL_WORTH = 1.5
"""Standardised similarity of anchors to their classes' names from which on names count in full."""


@dataclass(frozen=True)
class Texts:
    """What the rule reads of N texts and T teachers.

    Attributes:
        logits: Of each teacher, (N, C_t).
        features: What each teacher's classifier reads, (N, F_t); None for a teacher without features.
        columns: For each teacher, the columns of its classes in the union.
        embeddings: By the student's encoder, (N, D); None without one.
        names: Cosine of text and class name in that encoder, (N, C); None where names are not compared.
    """

    logits: Sequence[np.ndarray]
    features: Sequence[np.ndarray | None]
    columns: Sequence[np.ndarray]
    embeddings: np.ndarray | None = None
    names: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.logits[0])

    def take(self, rows: np.ndarray | slice) -> Texts:
        """Return the texts at ``rows``."""
        return Texts(
            [one[rows] for one in self.logits],
            [None if one is None else one[rows] for one in self.features],
            self.columns,
            None if self.embeddings is None else self.embeddings[rows],
            None if self.names is None else self.names[rows],
        )

    @property
    def predicted(self) -> np.ndarray:
        """Each teacher's most likely class, as a column of its own, (N, T)."""
        return np.stack([one.argmax(1) for one in self.logits], axis=1)


@dataclass(frozen=True)
class Space:
    """The space of the neighbour graph: principal components of the embeddings or, without them, of the features.

    Attributes:
        means: Of each block of columns.
        scales: What each block is divided by.
        components: Projection of all columns, (D, d).
    """

    means: tuple[np.ndarray, ...]
    scales: tuple[float, ...]
    components: np.ndarray

    @classmethod
    def fit(cls, texts: Texts) -> Space:
        """Fit it to a reference sample."""
        blocks = _blocks(texts)
        means = tuple(one.mean(0) for one in blocks)
        scales = tuple(
            float(np.sqrt(((one - mean) ** 2).sum(1).mean()) + 1e-12) for one, mean in zip(blocks, means, strict=True)
        )
        joined = np.concatenate(
            [(one - mean) / scale for one, mean, scale in zip(blocks, means, scales, strict=True)], axis=1
        )
        values, vectors = np.linalg.eigh(joined.T @ joined)
        return cls(means, scales, vectors[:, ::-1][:, : min(COMPONENTS, (values > 1e-9 * values[-1]).sum())])

    def apply(self, texts: Texts) -> np.ndarray:
        """Return the texts' places, (N, d)."""
        blocks = zip(_blocks(texts), self.means, self.scales, strict=True)
        return np.concatenate([(one - mean) / scale for one, mean, scale in blocks], axis=1) @ self.components


def _blocks(texts: Texts) -> list[np.ndarray]:
    if texts.embeddings is not None:
        return [texts.embeddings.astype(np.float64)]
    found = [one.astype(np.float64) for one in texts.features if one is not None]
    return found or [log_softmax(one) for one in texts.logits]


@dataclass(frozen=True)
class FirstStage:
    """Evidence of a reference sample of M texts before any teacher is chosen.

    Attributes:
        teachers: Each teacher's statistics.
        names: Statistics of the class names; None where they are not compared.
        name_weight: How much class names count, from 0 (they say nothing about the anchors) to 1.
        space: Of the neighbour graph.
        graph: Over the sample.
        matrix: Its normalised edges, (M, M).
        values: Numbers of each (text, teacher), (M, T, F).
        diffused: The same diffused over the graph, (M, T, F).
        vectors: Where prototypes are compared with texts, (M, D).
        predicted: Each teacher's most likely class, (M, T).
        classes: Number of classes of each teacher.
    """

    teachers: tuple[TeacherEvidence, ...]
    names: NameStatistics | None
    name_weight: float
    space: Space
    graph: NeighbourGraph
    matrix: csr_matrix
    values: np.ndarray
    diffused: np.ndarray
    vectors: np.ndarray
    predicted: np.ndarray
    classes: list[int]

    @classmethod
    def fit(cls, texts: Texts, numbers: tuple[str, ...]) -> FirstStage:
        """Measure the evidence.

        Args:
            texts: The sample.
            numbers: Names of the numbers to keep.
        """
        names = None if texts.names is None else NameStatistics.fit(texts.names)
        scaled, standard = _names(names, texts)
        fits, found = [], []
        for logits, features, columns in zip(texts.logits, texts.features, texts.columns, strict=True):
            fit, own = TeacherEvidence.fit(logits, features, None if scaled is None else scaled[:, columns])
            fits.append(fit)
            found.append(own)
        name_weight = float(np.clip(np.mean([fit.name_worth for fit in fits]) / FULL_WORTH, 0, 1))
        values = _values(found, numbers, texts, standard, name_weight)
        space = Space.fit(texts)
        places = space.apply(texts)
        graph, matrix = NeighbourGraph.build(places)
        diffused = diffuse(matrix, values.reshape(len(values), -1)).reshape(values.shape)
        return cls(
            tuple(fits), names, name_weight, space, graph, matrix, values, diffused,
            _prototype_space(places, standard), texts.predicted, [one.shape[1] for one in texts.logits],
        )  # fmt: skip

    def prototypes(self, score: np.ndarray) -> tuple[Prototypes | None, np.ndarray | None]:
        """Fit prototypes to a first score (M, T), and return their numbers, (M, T, P); None if no class has anchors."""
        found = Prototypes.fit(self.vectors, softmax_rows(score), _margins(score), self.predicted, self.classes)
        return (None, None) if found is None else found


@dataclass(frozen=True)
class InDomainModel:
    """The rule, fitted to a reference sample of a pool.

    Attributes:
        weights: Of the two conditional logits.
        teachers: Each teacher's statistics.
        names: Statistics of the class names; None where they are not compared.
        name_weight: How much class names count, from 0 (they say nothing about the anchors) to 1.
        space: Of the neighbour graph.
        graph: Over the sample.
        diffused: Diffused numbers of the sample, (M, T · F).
        prototypes: None where no class has anchors.
        shift: Of each teacher's score, from its share of the sample, (T,).
        signs: Label-free signs of the reliability, :data:`~muka_fast.selection.reliability.SIGNS`.
    """

    weights: LogitWeights
    teachers: tuple[TeacherEvidence, ...]
    names: NameStatistics | None
    name_weight: float
    space: Space
    graph: NeighbourGraph
    diffused: np.ndarray
    prototypes: Prototypes | None
    shift: np.ndarray
    signs: np.ndarray

    @classmethod
    def fit(cls, texts: Texts, weights: LogitWeights) -> tuple[InDomainModel, np.ndarray]:
        """Fit the rule to a reference sample.

        Returns:
            The model, and the scores of the sample, (M, T): log posterior up to a constant of each text.
        """
        stage = FirstStage.fit(texts, weights.numbers)
        first = weights.first_score(stage.values, stage.diffused)
        prototypes, second = stage.prototypes(first)
        score = weights.second_score(first, second)
        shift = share_shift(score)
        score = score + shift
        purity = 0.0 if prototypes is None else prototypes.purity
        signs = measure_signs(stage.matrix, softmax_rows(score), first, purity)
        diffused = stage.diffused.reshape(len(texts), -1).astype(np.float32)
        model = cls(
            weights,
            stage.teachers,
            stage.names,
            stage.name_weight,
            stage.space,
            stage.graph,
            diffused,
            prototypes,
            shift,
            signs,
        )
        return model, score

    @property
    def reliability(self) -> Reliability | None:
        """How far the choice for the reference sample can be relied on; None where no estimate holds."""
        if not self.weights.reliability:
            return None
        return estimate(self.signs, self.weights.reliability, self.weights.lowest)

    def apply(self, texts: Texts) -> np.ndarray:
        """Return scores of texts outside the sample, (N, T), each by itself."""
        result = np.empty((len(texts), len(self.teachers)))
        for rows in row_chunks(len(texts), CHUNK):
            part = texts.take(rows)
            scaled, standard = _names(self.names, part)
            numbers = [
                fit.apply(logits, features, None if scaled is None else scaled[:, columns])
                for fit, logits, features, columns in zip(
                    self.teachers, part.logits, part.features, part.columns, strict=True
                )
            ]
            values = _values(numbers, self.weights.numbers, part, standard, self.name_weight)
            places = self.space.apply(part)
            diffused = self.graph.attach(places, values.reshape(len(values), -1), self.diffused)
            first = self.weights.first_score(values, diffused.reshape(values.shape))
            second = None
            if self.prototypes is not None:
                second = self.prototypes.apply(_prototype_space(places, standard), part.predicted)
            result[rows] = self.weights.second_score(first, second) + self.shift
        return result


def _names(names: NameStatistics | None, texts: Texts) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return name similarities on one scale, and standardised by class, (N, C) each."""
    if names is None or texts.names is None:
        return None, None
    return names.apply(texts.names), names.standardise(texts.names)


def _values(
    numbers: list[dict[str, np.ndarray]],
    wanted: tuple[str, ...],
    texts: Texts,
    standard: np.ndarray | None,
    name_weight: float,
) -> np.ndarray:
    """Put the teachers' numbers together, (N, T, F); the best name counts as far as names tell."""
    if standard is not None:
        posterior = log_softmax(standard)
        for found, columns in zip(numbers, texts.columns, strict=True):
            found["name mass"] = np.logaddexp.reduce(posterior[:, columns], axis=1) - np.log(len(columns))
            found["name best"] = name_weight * found["name best"]
    return stack(numbers, wanted)


def _prototype_space(places: np.ndarray, standard: np.ndarray | None) -> np.ndarray:
    """Put places and name similarities side by side, each of length one."""
    parts = [unit_rows(places)] + ([] if standard is None else [unit_rows(standard)])
    return np.concatenate(parts, axis=1).astype(np.float64)


def _margins(score: np.ndarray) -> np.ndarray:
    """Score of each teacher less the largest of the others, (N, T)."""
    if score.shape[1] == 1:
        return score
    ordered = np.sort(score, axis=1)
    best = score == ordered[:, -1:]
    return score - np.where(best, ordered[:, -2:-1], ordered[:, -1:])


def softmax_rows(values: np.ndarray) -> np.ndarray:
    """Softmax of (N, T) scores over the teachers, fp64."""
    shifted = np.exp(values - values.max(1, keepdims=True))
    return shifted / shifted.sum(1, keepdims=True)


def share_shift(score: np.ndarray) -> np.ndarray:
    """Return a damped step of each teacher's score towards its own share of the pool, (T,).

    The fixed point of π = mean softmax(score + a ln π), less its mean, with a = ``SHARE_STEP``. Evidence is learned
    with owners weighing alike; the step takes back a little of that.
    """
    teachers = score.shape[1]
    share = np.full(teachers, 1 / teachers)
    for _ in range(60):
        share = softmax_rows(score + SHARE_STEP * np.log(share)).mean(0)
    return SHARE_STEP * (np.log(share) - np.log(share).mean())


def judge_pool(
    texts: Texts, ids: np.ndarray, weights: LogitWeights, reference: int = REFERENCE
) -> tuple[InDomainModel, np.ndarray]:
    """Fit the rule to a pool, and score all of its texts.

    Args:
        texts: N texts.
        ids: Text ids, (N,): hashes, so the first texts in their order are a random sample.
        weights: For the kind of evidence that there is.
        reference: Texts of the sample that the rule is fitted to, at most.

    Returns:
        The model, and scores (N, T): log posterior up to a constant of each text.
    """
    sample = np.sort(np.argsort(ids, kind="stable")[:reference])
    model, own = InDomainModel.fit(texts.take(sample), weights)
    if len(sample) == len(texts):
        return model, own
    scores = np.empty((len(texts), len(texts.logits)))
    scores[sample] = own
    others = np.setdiff1d(np.arange(len(texts)), sample, assume_unique=True)
    for rows in row_chunks(len(others), CHUNK):
        scores[others[rows]] = model.apply(texts.take(others[rows]))
    return model, scores
