import numpy as np
import pytest
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from muka_fast.data.label_space import match_labels
from muka_fast.errors import CorpusError
from muka_fast.evaluation.metrics import (
    classification_metrics,
    confused_pairs,
    fidelity,
    selection_metrics,
)
from muka_fast.selection.muka_rule import muka_rule
from tests.helpers.pools import POOL


def test_classification_metrics_equal_those_of_scikit_learn():
    random = np.random.default_rng(0)
    truth, predicted = random.integers(0, 5, 200), random.integers(0, 6, 200)
    ours = classification_metrics(truth, predicted, list("abcdef"))
    precision, recall, f1, support = precision_recall_fscore_support(truth, predicted, labels=range(5), zero_division=0)
    assert ours.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert ours.macro_f1 == pytest.approx(f1.mean())
    assert [c.support for c in ours.classes] == support.tolist()
    assert [c.precision for c in ours.classes] == pytest.approx(precision.tolist())
    assert [c.recall for c in ours.classes] == pytest.approx(recall.tolist())


def test_the_pairs_of_most_texts_come_first():
    truth, predicted = np.array([0, 0, 0, 1, 2, 2, 1, 2]), np.array([0, 1, 1, 2, 0, 0, 1, 1])
    found = [(pair.true, pair.predicted, pair.count) for pair in confused_pairs(truth, predicted, ["a", "b", "c"])]
    assert found == [("a", "b", 2), ("c", "a", 2), ("b", "c", 1), ("c", "b", 1)]
    assert confused_pairs(truth, truth, ["a", "b", "c"]) == []
    assert len(confused_pairs(np.arange(30), np.arange(30)[::-1], [str(index) for index in range(30)])) == 20


def test_labels_are_matched_however_spelt_and_unknown_ones_counted():
    found, unknown = match_labels(["Sport", "World News"], ["world  news", "SPORT", "other", "other"], "f")
    assert found.tolist() == [1, 0, -1, -1]
    assert unknown == {"other": 2}
    with pytest.raises(CorpusError, match="none of the labels"):
        match_labels(["a", "b"], ["c"], "f")


def test_selection_metrics_of_a_small_pool():
    # Union x y z w; teachers a: x y, b: y z w, c: w x. Teacher predictions: [x w w], [x z w], [y y w], [x w x].
    trust = muka_rule(POOL, hard=True)  # chooses a, b, a, a
    result = selection_metrics(POOL, trust, np.array([0, 2, 1, 3]))
    assert result.teachers == {"a": 0.5, "b": 0.75, "c": 0.0}
    assert result.own_classes == {"a": 1.0, "b": 1.0, "c": 0.0}
    assert result.oracle == 1.0
    assert result.selection == 0.75
    assert result.routing_accuracy == 0.75


def test_texts_that_no_knowing_teacher_has_a_prediction_for_are_left_out():
    answered = np.ones((4, 3), dtype=bool)
    answered[1, 1] = False  # b, which alone knows the class of the second text
    result = selection_metrics(POOL, muka_rule(POOL, hard=True), np.array([0, 2, 1, 3]), answered)
    assert (result.measured, result.oracle) == (3, 1.0)
    assert result.selection == result.routing_accuracy == pytest.approx(2 / 3)
    nothing = selection_metrics(
        POOL, muka_rule(POOL, hard=True), np.array([2, 2, 2, 2]), answered & [True, False, True]
    )
    assert (nothing.measured, nothing.oracle, nothing.selection, nothing.routing_accuracy) == (0, None, None, None)


def test_a_teacher_without_a_text_of_its_own_classes_has_no_accuracy_on_them():
    result = selection_metrics(POOL, muka_rule(POOL, hard=True), np.array([2, 2, 2, 2]))  # z, which b alone knows
    assert result.own_classes == {"a": None, "b": 0.25, "c": None}
    assert result.teachers == {"a": 0.0, "b": 0.25, "c": 0.0}


def test_fidelity_is_the_share_of_equal_classes():
    logits = np.array([[3.0, 1.0], [0.0, 1.0], [2.0, 1.0], [2.0, 9.0]])
    targets = np.array([[0.9, 0.1], [0.6, 0.4], [0.8, 0.2], [0.3, 0.7]])
    found = fidelity(logits, targets, held_out=True)
    assert (found.agreement, found.texts, found.held_out) == (0.75, 4, True)
