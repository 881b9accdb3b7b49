"""Evidence of a reference sample, and of other texts, before any teacher is chosen.

The neighbour graph stands in the space of the student's encoder; without an encoder, in that of the teachers' features
or of their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_matrix
from scipy.special import softmax

from muka_fast.selection.evidence import NameStatistics, TeacherEvidence, log_softmax, stack
from muka_fast.selection.neighbours import NeighbourGraph, diffuse, unit_rows
from muka_fast.selection.prototypes import Prototypes

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
        scaled, standard = standardised_names(names, texts)
        fits, found = [], []
        for logits, features, columns in zip(texts.logits, texts.features, texts.columns, strict=True):
            fit, own = TeacherEvidence.fit(logits, features, None if scaled is None else scaled[:, columns])
            fits.append(fit)
            found.append(own)
        name_weight = float(np.clip(np.mean([fit.name_worth for fit in fits]) / FULL_WORTH, 0, 1))
        values = join_numbers(found, numbers, texts, standard, name_weight)
        space = Space.fit(texts)
        places = space.apply(texts)
        graph, matrix = NeighbourGraph.build(places)
        diffused = diffuse(matrix, values.reshape(len(values), -1)).reshape(values.shape)
        return cls(
            tuple(fits), names, name_weight, space, graph, matrix, values, diffused,
            prototype_space(places, standard), texts.predicted, [one.shape[1] for one in texts.logits],
        )  # fmt: skip

    def prototypes(self, score: np.ndarray) -> tuple[Prototypes | None, np.ndarray | None]:
        """Fit prototypes to a first score (M, T), and return their numbers, (M, T, P); None if no class has anchors."""
        found = Prototypes.fit(self.vectors, softmax(score, axis=1), margins(score), self.predicted, self.classes)
        return (None, None) if found is None else found


def standardised_names(names: NameStatistics | None, texts: Texts) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return name similarities on one scale, and standardised by class, (N, C) each."""
    if names is None or texts.names is None:
        return None, None
    return names.apply(texts.names), names.standardise(texts.names)


def join_numbers(
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


def prototype_space(places: np.ndarray, standard: np.ndarray | None) -> np.ndarray:
    """Put places and name similarities side by side, each of length one."""
    parts = [unit_rows(places)] + ([] if standard is None else [unit_rows(standard)])
    return np.concatenate(parts, axis=1).astype(np.float64)


def margins(score: np.ndarray) -> np.ndarray:
    """Score of each teacher less the largest of the others, (N, T)."""
    if score.shape[1] == 1:
        return score
    ordered = np.sort(score, axis=1)
    best = score == ordered[:, -1:]
    return score - np.where(best, ordered[:, -2:-1], ordered[:, -1:])
