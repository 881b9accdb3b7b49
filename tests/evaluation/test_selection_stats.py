"""Two teachers that share one of five classes, four texts, all numbers by hand."""

import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.few_labels import GivenLabels
from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.record_base import LabelEffect
from muka_fast.evaluation.selection_record import ReliabilityStats, SelectionStats
from muka_fast.evaluation.selection_stats import (
    _smallest,
    confidence_histogram,
    group_confusion,
    risk_coverage,
    selection_stats,
)
from muka_fast.selection.base import Pool, Selection
from muka_fast.selection.reliability import Reliability
from muka_fast.uncertainty.signals import Signals

SPACE = LabelSpace.union({"a": ["x", "y"], "b": ["y", "z", "w", "v"]})  # union: x y z w v


def teacher(probabilities, relative_entropy, passes) -> Signals:
    """Signals with these deterministic probabilities and this predictive entropy over ln C."""
    logits = np.log(np.array(probabilities, dtype=np.float32))
    entropies = (np.array(relative_entropy) * math.log(logits.shape[1])).astype(np.float32)
    empty = np.zeros_like(entropies)
    return Signals(logits, np.exp(logits), entropies, empty, empty, empty, np.array(passes, dtype=np.int32), logits)


PASSES = [0, 16, 2, 16]
A = teacher([[0.9, 0.1], [0.3, 0.7], [0.5, 0.5], [0.2, 0.8]], [0.02, 0.52, 0.97, 0.27], PASSES)
B = teacher(
    [[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4], [0.2, 0.6, 0.1, 0.1], [0.1, 0.1, 0.7, 0.1]],
    [0.32, 0.62, 0.22, 0.12],
    PASSES,
)
POOL = Pool((A, B), SPACE, np.array([7, 5, 0xFFFFFFFFFFFFFFFF, 1], dtype=np.uint64))
WEIGHTS = np.array([[0.91, 0.09], [0.39, 0.61], [0.44, 0.56], [0.19, 0.81]])
CORPUS = Corpus(("first", "second\n\tline\x00", "t" * 201, "t" * 200), None, POOL.ids)


def selection(weights: np.ndarray) -> Selection:
    return Selection(weights, weights, np.ones(len(weights)))


STATS = selection_stats(POOL, selection(WEIGHTS), CORPUS)


def bins(**filled: int) -> list[int]:
    """Return a histogram that is empty but for ``b7=2``: two in the eighth bin."""
    return [filled.get(f"b{index}", 0) for index in range(20)]


def test_who_is_trusted_and_how_clearly():
    assert STATS.teachers == ["a", "b"]
    assert STATS.known_to == [[0], [0, 1], [1], [1], [1]]
    assert STATS.chosen == [1, 3]
    assert STATS.chosen_share == [0.25, 0.75]
    assert STATS.margin == bins(b16=1, b4=1, b2=1, b12=1)  # .82 .22 .12 .62


def test_hard_targets_keep_the_margins_that_they_were_chosen_by():
    hard = replace(selection(WEIGHTS), hard=True)
    assert hard.teacher_weights.tolist() == [[1, 0], [0, 1], [0, 1], [0, 1]]
    assert selection_stats(POOL, hard, CORPUS) == STATS


def test_the_margin_is_between_the_two_most_trusted_of_three():
    space = LabelSpace.union({"a": ["x", "y"], "b": ["y", "z", "w", "v"], "c": ["x", "u"]})
    weights = np.array([[0.6, 0.01, 0.39], [0.2, 0.53, 0.27], [0.1, 0.1, 0.8], [0.2, 0.5, 0.3]])
    stats = selection_stats(Pool((A, B, A), space, POOL.ids), selection(weights), CORPUS)
    assert [row.margin for row in stats.least_certain] == pytest.approx([0.2, 0.21, 0.26, 0.7])
    assert stats.chosen == [1, 2, 1]
    assert stats.score_by_selection == [[1, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_entropies_are_split_by_the_choice():
    first, second = STATS.entropy
    assert (first.chosen, first.other) == (bins(b0=1), bins(b10=1, b19=1, b5=1))
    assert (second.chosen, second.other) == (bins(b12=1, b4=1, b2=1), bins(b6=1))


def test_passes_are_counted_by_text():
    assert STATS.passes == [(0, 1), (2, 1), (16, 2)]


def test_the_score_would_choose_the_other_teacher_for_one_text():
    # Scores .98 > .68, .48 > .38, .03 < .78, .73 < .88: a a b b; chosen are a b b b.
    assert STATS.score_by_selection == [[1, 1], [0, 2]]


def test_least_certain_first():
    rows = STATS.least_certain
    assert [row.id for row in rows] == [f"{i:016x}" for i in (0xFFFFFFFFFFFFFFFF, 5, 1, 7)]
    assert [row.margin for row in rows] == pytest.approx([0.12, 0.22, 0.62, 0.82])
    assert [row.text for row in rows] == ["t" * 199 + "…", "second line", "t" * 200, "first"]
    one, other = rows[1].teachers
    assert (one.label, other.label) == ("y", "v")
    assert [one.weight, one.probability] == pytest.approx([0.39, 0.7])
    assert [other.weight, other.probability] == pytest.approx([0.61, 0.4])


def test_texts_are_not_quoted_if_they_are_to_be_left_out():
    stats = selection_stats(POOL, selection(WEIGHTS), CORPUS, quote_texts=False)
    assert stats == STATS.model_copy(update={"least_certain": []})


def test_equal_margins_are_listed_by_text_id():
    pool = Pool((A.take(np.arange(32) % 4), B.take(np.arange(32) % 4)), SPACE, np.arange(32, 0, -1).astype(np.uint64))
    corpus = Corpus(tuple(f"text {i}" for i in range(32)), None, pool.ids)
    rows = selection_stats(pool, selection(np.tile([[0.0, 1.0]], (32, 1))), corpus).least_certain
    assert [row.text for row in rows] == [f"text {i}" for i in range(31, 11, -1)]


def test_a_pair_is_shown_whole():
    corpus = build_corpus(["one", "two", "three", "four"], ["uno", "dos", "tres", "cuatro"])
    texts = [row.text for row in selection_stats(POOL, selection(WEIGHTS), corpus).least_certain]
    assert texts == ["three / tres", "two / dos", "four / cuatro", "one / uno"]


def test_the_reliability_of_the_choice_is_kept():
    reliable = replace(selection(WEIGHTS), reliability=Reliability(0.75, 0.5))
    assert selection_stats(POOL, reliable, CORPUS).reliability == ReliabilityStats(
        recall=0.75, lowest=0.5, in_doubt=True
    )
    assert STATS.reliability is None


def test_the_statistics_survive_json():
    tree = json.loads(json.dumps(STATS.model_dump(mode="json"), allow_nan=False))
    assert SelectionStats.model_validate(tree) == STATS


def test_values_that_rounding_put_outside_are_counted():
    pool = Pool((teacher([[0.5, 0.5]], [1.0001], [0]), teacher([[0.25] * 4], [-0.0001], [0])), SPACE, POOL.ids[:1])
    stats = selection_stats(pool, selection(np.array([[0.0, 1.0]])), CORPUS)
    assert stats.entropy[0].other == bins(b19=1)
    assert stats.entropy[1].chosen == bins(b0=1)
    assert stats.margin == bins(b19=1)


def test_risk_coverage_by_hand():
    confidence, correct = np.array([0.8, 0.9, 0.5, 0.8]), np.array([False, True, False, True])
    expected = [(0.25, 0.0), (0.75, pytest.approx(1 / 3)), (1.0, 0.5)]
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [1, 3, 0, 2]):
        assert risk_coverage(confidence[order], correct[order]) == expected
    assert risk_coverage(np.ones(4), correct) == [(1.0, 0.5)]


def test_risk_coverage_has_at_most_fifty_points():
    confidence = np.linspace(1, 0, 200)
    points = risk_coverage(confidence, np.arange(200) < 100)  # the surer half is right
    assert [coverage for coverage, _ in points] == pytest.approx(np.arange(1, 51) / 50)
    assert points[24] == (0.5, 0.0)
    assert points[-1] == (1.0, 0.5)
    # 101 distinct values, the first of which half of the texts share.
    uneven = np.maximum(np.arange(200), 99)[::-1]
    coverages = [coverage for coverage, _ in risk_coverage(uneven, np.ones(200, dtype=bool))]
    assert len(coverages) == 26
    assert coverages[-2:] == [0.5, 1.0]


def test_right_and_wrong_predictions_are_counted_by_confidence():
    found = confidence_histogram(np.array([0.31, 0.99, 1.0, 0.52]), np.array([False, True, True, False]))
    assert (found.right, found.wrong) == (bins(b19=2), bins(b6=1, b10=1))


def test_group_confusion_by_hand():
    truth, predicted = np.array([0, 1, 2, 3, 4, 4]), np.array([0, 2, 2, 4, 1, 0])
    found = group_confusion(SPACE, truth, predicted)
    assert found.groups == ["a", "a + b", "b"]
    assert found.counts == [[1, 0, 0], [0, 0, 1], [1, 1, 2]]


def test_the_effect_of_given_labels_is_kept():
    correction = SimpleNamespace(rule_right=1, changed=7)
    corrected = replace(selection(WEIGHTS), model=SimpleNamespace(correction=correction))
    labels = GivenLabels(np.array([0, -1, 1, 4]), 1, {"cars": 3})
    assert selection_stats(POOL, corrected, CORPUS, labels, {"b": 0.25}).labels == LabelEffect(
        labelled=3,
        added=1,
        left_out={"cars": 3},
        by_teacher=[2, 2],  # both know the class y
        rule_right=1,
        changed=7,
        known_shares={"b": 0.25},
    )
    assert STATS.labels is None


def test_the_least_certain_texts_are_the_first_of_a_full_sort():
    random = np.random.default_rng(0)
    for margin in (random.random(200), random.integers(0, 3, 200) / 4.0, random.random(5)):
        ids = random.permutation(len(margin)).astype(np.uint64)
        assert np.array_equal(_smallest(margin, ids, 20), np.lexsort((ids, margin))[:20])
