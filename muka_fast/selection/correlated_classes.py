"""Classes of different teachers that are predicted for the same texts of a pool."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from muka_fast.data.label_space import LabelSpace
from muka_fast.selection.trust_scores import probabilities
from muka_fast.uncertainty.signals import Signals

LEAST_CORRELATION = 0.7
"""Correlation of two classes' probabilities that the pool must show with 95 % confidence."""
LEAST_TEXTS = 10
"""Texts for which both classes must be the most likely ones, and texts for which neither may be."""
AT_MOST = 20000
"""Texts that are read at most, evenly spaced over the pool."""
_NORMAL_95 = 1.645
_LEAST_DEVIATION = 1e-3


class CorrelatedClasses(NamedTuple):
    """Two classes of different teachers.

    Attributes:
        first: Union index.
        second: Union index, larger.
        correlation: Pearson correlation of their probabilities.
        texts: Texts for which each is its teacher's most likely class.
    """

    first: int
    second: int
    correlation: float
    texts: int


class _Outputs(NamedTuple):
    """A teacher's probabilities, standardised by class, and its most likely classes, one-hot; (N, C_t) fp32 each."""

    standardised: np.ndarray
    predicted: np.ndarray

    @classmethod
    def of(cls, signals: Signals) -> _Outputs:
        values = probabilities(signals).numpy()
        deviation = values.std(0)
        scale = np.where(deviation < _LEAST_DEVIATION, 0, 1 / np.maximum(deviation, _LEAST_DEVIATION))
        return cls((values - values.mean(0)) * scale, np.eye(values.shape[1], dtype=np.float32)[values.argmax(1)])


def correlated_classes(signals: Sequence[Signals], space: LabelSpace) -> list[CorrelatedClasses]:
    """Find classes that two teachers predict for the same texts, the most correlated first.

    Two classes are named if

    * no teacher has both, and ``same_name: prefix`` does not keep them apart,
    * each is the other's most correlated class of that teacher,
    * the lower bound of their correlation (95 %, one-sided, by Fisher's transformation) is at least
      :data:`LEAST_CORRELATION`, where only the texts for which one of the two is the most likely class count as
      observations: all other texts agree that it is neither, however rare both are,
    * both are the most likely class for :data:`LEAST_TEXTS` texts or more, and neither is for as many.

    A teacher predicts one of its classes for texts outside its domain too. Therefore the rule misses pairs, and it
    names classes of one topic.

    Args:
        signals: Every teacher's, N texts each.
        space: How the teachers' columns lie in the label space.
    """
    count = len(signals[0])
    rows = np.linspace(0, count - 1, min(count, AT_MOST)).astype(np.int64)
    outputs = [_Outputs.of(one.take(rows)) for one in signals]
    found: dict[tuple[int, int], CorrelatedClasses] = {}
    for one, other in combinations(range(len(signals)), 2):
        for row, column, correlation, texts in _pairs(outputs[one], outputs[other]):
            first, second = sorted((space.union_index[one][row], space.union_index[other][column]))
            known = found.get((first, second))
            if not space.kept_apart[first, second] and (known is None or known.correlation < correlation):
                found[first, second] = CorrelatedClasses(first, second, correlation, texts)
    return sorted(found.values(), key=lambda pair: -pair.correlation)


def _pairs(one: _Outputs, other: _Outputs) -> list[tuple[int, int, float, int]]:
    """Return (class of one teacher, class of the other, correlation, texts of both) of the pairs that are named."""
    count = len(one.standardised)
    correlation = np.clip(one.standardised.T @ other.standardised / count, -1, 1).astype(np.float64)
    both = one.predicted.T @ other.predicted
    either = one.predicted.sum(0)[:, None] + other.predicted.sum(0) - both
    error = _NORMAL_95 / np.sqrt(np.maximum(either - 3, 1))
    lower = np.tanh(np.arctanh(np.minimum(correlation, 1 - 1e-6).clip(min=-0.99)) - error)
    best = (correlation == correlation.max(1, keepdims=True)) & (correlation == correlation.max(0, keepdims=True))
    named = best & (lower >= LEAST_CORRELATION) & (both >= LEAST_TEXTS) & (count - either >= LEAST_TEXTS)
    return [(int(i), int(j), float(correlation[i, j]), int(both[i, j])) for i, j in np.argwhere(named)]
