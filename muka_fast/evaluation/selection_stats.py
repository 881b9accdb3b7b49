"""Statistics for the run's record: teacher weights over the pool, confidence, confusion of label groups."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from muka_fast.data.corpus import Corpus
from muka_fast.data.few_labels import GivenLabels
from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.evaluation_record import ConfidenceHistogram, GroupConfusion
from muka_fast.evaluation.histogram import unit_histogram
from muka_fast.evaluation.record_base import LabelEffect
from muka_fast.evaluation.selection_record import (
    EntropyHistograms,
    ReliabilityStats,
    SelectionStats,
    TeacherVote,
    UncertainText,
)
from muka_fast.runtime.numerics import row_chunks, softmax
from muka_fast.selection.base import Pool, Selection
from muka_fast.selection.trust_scores import TRUST_SCORES
from muka_fast.uncertainty.signals import normalised

LEAST_CERTAIN = 20
POINTS = 50
_LENGTH = 200
"""Characters of a text that the record keeps."""


def _entropy_histograms(pool: Pool, chosen: np.ndarray) -> list[EntropyHistograms]:
    found = []
    for teacher, signals in enumerate(pool.signals):
        values = normalised(signals.predictive_entropy, signals.logits.shape[1])
        own = chosen == teacher
        found.append(EntropyHistograms(chosen=unit_histogram(values[own]), other=unit_histogram(values[~own])))
    return found


def _margin(weights: np.ndarray) -> np.ndarray:
    """Return the difference of the two largest of (N, T) weights, (N,), for some texts at a time."""
    margin = np.empty(len(weights))
    for rows in row_chunks(len(weights)):
        ranked = np.sort(weights[rows], axis=1)
        margin[rows] = ranked[:, -1] - ranked[:, -2]
    return margin


def _smallest(values: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """Return the texts of the smallest values, smallest first; ids break ties."""
    if len(values) > count:
        some = np.flatnonzero(values <= np.partition(values, count)[count])
    else:
        some = np.arange(len(values))
    return some[np.lexsort((ids[some], values[some]))[:count]]


def contingency_table(rows: np.ndarray, columns: np.ndarray, size: int) -> list[list[int]]:
    """Count pairs of indices below ``size``, (N,) each, in a table of size × size."""
    return np.bincount(rows * size + columns, minlength=size * size).reshape(size, size).tolist()


def one_line(corpus: Corpus, index: int) -> str:
    """Return a text, and the second of its pair, without control characters and cut to 200 characters."""
    whole = corpus.texts[index] if corpus.pairs is None else f"{corpus.texts[index]} / {corpus.pairs[index]}"
    visible = "".join(" " if unicodedata.category(character) == "Cc" else character for character in whole)
    line = " ".join(visible.split())
    return line if len(line) <= _LENGTH else line[: _LENGTH - 1] + "…"


def _least_certain(pool: Pool, trust: Selection, corpus: Corpus, margin: np.ndarray) -> list[UncertainText]:
    texts = []
    for index in _smallest(margin, pool.ids, LEAST_CERTAIN).tolist():
        votes = []
        for teacher, signals in enumerate(pool.signals):
            probabilities = softmax(signals.logits[index])
            best = int(probabilities.argmax())
            votes.append(
                TeacherVote(
                    weight=float(trust.soft_weights[index, teacher]),
                    label=pool.space.names[pool.space.union_index[teacher][best]],
                    probability=float(probabilities[best]),
                )
            )
        texts.append(
            UncertainText(
                id=f"{pool.ids[index]:016x}",
                text=one_line(corpus, index),
                margin=float(margin[index]),
                teachers=votes,
            )
        )
    return texts


def _reliability(selection: Selection) -> ReliabilityStats | None:
    found = selection.reliability
    return (
        None if found is None else ReliabilityStats(recall=found.recall, lowest=found.lowest, in_doubt=found.in_doubt)
    )


def _label_effect(
    pool: Pool, selection: Selection, labels: GivenLabels | None, shares: Mapping[str, float]
) -> LabelEffect | None:
    correction = None if selection.model is None else selection.model.correction
    if correction is None:
        return None
    classes = np.zeros(0, dtype=np.int64) if labels is None else labels.classes[labels.rows]
    return LabelEffect(
        labelled=len(classes),
        added=0 if labels is None else labels.added,
        left_out={} if labels is None else labels.left_out,
        by_teacher=pool.space.membership[:, classes].sum(1).tolist(),
        rule_right=correction.rule_right,
        changed=correction.changed,
        known_shares=dict(shares),
    )


def selection_stats(
    pool: Pool,
    trust: Selection,
    corpus: Corpus,
    labels: GivenLabels | None = None,
    shares: Mapping[str, float] = MappingProxyType({}),
    *,
    quote_texts: bool = True,
) -> SelectionStats:
    """Summarise the teacher weights of a pool.

    Args:
        pool: The scored texts.
        trust: The selection on them.
        corpus: The same texts, in the same order.
        labels: The labels that the recipe gives.
        shares: The shares that the recipe gives, by teacher name.
        quote_texts: Quote the least certain texts.
    """
    teachers, chosen = len(pool.signals), trust.chosen
    margin = _margin(trust.soft_weights)
    counts = np.bincount(chosen, minlength=teachers)
    scores = np.stack([TRUST_SCORES["predictive-entropy"](signals) for signals in pool.signals], axis=1)
    passes, texts = np.unique(pool.signals[0].passes, return_counts=True)
    return SelectionStats(
        teachers=list(pool.space.teachers),
        known_to=[np.flatnonzero(known).tolist() for known in pool.space.membership.T],
        chosen=counts.tolist(),
        chosen_share=(counts / len(pool)).tolist(),
        margin=unit_histogram(margin),
        entropy=_entropy_histograms(pool, chosen),
        passes=[(int(number), int(count)) for number, count in zip(passes, texts, strict=True)],
        score_by_selection=contingency_table(scores.argmax(1), chosen, teachers),
        reliability=_reliability(trust),
        labels=_label_effect(pool, trust, labels, shares),
        least_certain=_least_certain(pool, trust, corpus, margin) if quote_texts else [],
    )


def risk_coverage(confidence: np.ndarray, correct: np.ndarray) -> list[tuple[float, float]]:
    """Return the error rate by the share of texts answered, most confident first (El-Yaniv and Wiener 2010).

    Texts of equal confidence are answered together, so their order does not matter. Of more than 50 points, those are
    kept that first reach 2 %, 4 %, … 100 %.

    Args:
        confidence: (N,), N ≥ 1.
        correct: Whether the prediction is right, (N,) bool.

    Returns:
        (coverage, error rate), coverage ascending to 1.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, wrong = confidence[order], np.cumsum(~correct[order].astype(bool))
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    if len(ends) > POINTS:
        goals = np.arange(1, POINTS + 1) * len(ranked) / POINTS
        ends = ends[np.unique(np.searchsorted(ends + 1, goals))]
    return [(float((end + 1) / len(ranked)), float(wrong[end] / (end + 1))) for end in ends]


def confidence_histogram(confidence: np.ndarray, correct: np.ndarray) -> ConfidenceHistogram:
    """Count right and wrong predictions by confidence.

    Args:
        confidence: Probability of the predicted class, (N,).
        correct: Whether the prediction is right, (N,) bool.
    """
    return ConfidenceHistogram(right=unit_histogram(confidence[correct]), wrong=unit_histogram(confidence[~correct]))


def group_confusion(space: LabelSpace, truth: np.ndarray, predicted: np.ndarray) -> GroupConfusion:
    """Count confusions between label groups.

    Args:
        space: The label space.
        truth: Class indices, (N,).
        predicted: Class indices, (N,).
    """
    names = [" + ".join(np.array(space.teachers)[known]) for known in space.membership.T]
    groups = list(dict.fromkeys(names))
    group = np.array([groups.index(name) for name in names])
    return GroupConfusion(groups=groups, counts=contingency_table(group[truth], group[predicted], len(groups)))
