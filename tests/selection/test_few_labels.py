"""Rules that are wrong for a part of a pool, and what labels and shares correct."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from muka_fast.runtime.arrays import flatten, restore
from muka_fast.selection.conditional_logit import weights_for
from muka_fast.selection.few_labels import Known, LabelCorrection, RuleOutput, replace_known, share_offsets
from muka_fast.selection.in_domain import InDomainModel, judge_pool
from tests.helpers.planted import planted, recall

CLASSES = [4, 4]


def wrong_rule(counts: tuple[int, int] = (300, 300), seed: int = 0, **changes) -> tuple[RuleOutput, np.ndarray]:
    """Return what a rule finds of a pool of two teachers, and the owners; right but for what a test changes.

    Texts of each owner lie in four clusters; the teacher that owns them predicts the cluster, the other one anything.
    """
    random = np.random.default_rng(seed)
    owner = np.repeat([0, 1], counts)
    cluster = random.integers(0, 4, len(owner))
    places = 3 * np.eye(8)[cluster + 4 * owner] + 0.3 * random.normal(size=(len(owner), 8))
    score = np.where(np.eye(2, dtype=bool)[owner], 1.0, -1.0) + 0.5 * random.normal(size=(len(owner), 2))
    predicted = np.where(np.eye(2, dtype=bool)[owner], cluster[:, None], random.integers(0, 4, (len(owner), 2)))
    return replace(RuleOutput(score, score[:, :, None], places, predicted), **changes), owner


def known(owner: np.ndarray, rows: np.ndarray, shares: np.ndarray | None = None) -> Known:
    return Known(np.sort(rows), np.eye(2, dtype=bool)[owner[np.sort(rows)]], shares)


def some(owner: np.ndarray, count: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).permutation(len(owner))[:count]


def test_labels_correct_a_teacher_that_is_scored_too_high():
    found, owner = wrong_rule()
    found = replace(found, score=found.score + np.array([2.0, 0.0]))
    fitted = LabelCorrection.fit(found, known(owner, some(owner, 50)), CLASSES)
    assert recall(owner, found.score) < 0.8
    assert recall(owner, fitted.apply(found)) > recall(owner, found.score) + 0.15


def test_labels_of_a_cluster_correct_the_rest_of_the_cluster():
    found, owner = wrong_rule()
    cluster = (found.places[:, :4].argmax(1) == 2) & (owner == 0)
    found.score[cluster] = found.score[cluster][:, ::-1]  # the rule is wrong for this cluster alone
    labelled = np.concatenate([np.flatnonzero(cluster)[:6], some(owner, 20)])
    fitted = LabelCorrection.fit(found, known(owner, np.unique(labelled)), CLASSES)
    rest = np.setdiff1d(np.flatnonzero(cluster), labelled)
    assert (found.score[rest].argmax(1) == 0).mean() < 0.2
    assert (fitted.apply(found)[rest].argmax(1) == 0).mean() > 0.9
    assert recall(owner, fitted.apply(found)) > recall(owner, found.score) + 0.05


def test_labels_that_the_rule_knew_change_no_choice():
    found, owner = wrong_rule()
    found = replace(found, score=np.where(np.eye(2, dtype=bool)[owner], 3.0, -3.0))
    fitted = LabelCorrection.fit(found, known(owner, some(owner, 16)), CLASSES)
    assert (fitted.apply(found).argmax(1) == owner).all()


def test_labels_of_a_skewed_pool_do_not_give_the_rare_teachers_texts_away():
    found, owner = wrong_rule((570, 30))
    fitted = LabelCorrection.fit(found, known(owner, some(owner, 50)), CLASSES)
    assert recall(owner, fitted.apply(found)) > recall(owner, found.score) - 0.02


def test_without_labels_and_shares_scores_stay_but_for_their_mean():
    found, owner = wrong_rule()
    fitted = LabelCorrection.fit(found, known(owner, np.zeros(0, dtype=int)), CLASSES)
    assert np.allclose(fitted.apply(found), found.score - found.score.mean(1, keepdims=True))


def test_a_label_that_two_teachers_know_prefers_neither():
    found, _ = wrong_rule()
    labels = Known(np.arange(40), np.ones((40, 2), dtype=bool))
    fitted = LabelCorrection.fit(found, labels, CLASSES)
    assert np.allclose(fitted.offsets, 0, atol=1e-3)


def test_known_shares_move_the_scores_towards_them():
    found, owner = wrong_rule((540, 60))
    biased = found.score + np.array([0.0, 1.5])
    offsets = share_offsets(biased, np.array([0.9, 0.1]))
    before, after = (softmax(score + np.log([0.9, 0.1]), axis=1).mean(0)[1] for score in (biased, biased + offsets))
    assert abs(after - 0.1) < abs(before - 0.1) / 2
    assert recall(owner, biased + offsets) > recall(owner, biased) + 0.05


def test_shares_that_clear_scores_contradict_change_little():
    score = np.repeat([[20.0, -20.0], [-20.0, 20.0]], 50, axis=0)
    assert np.abs(share_offsets(score, np.array([0.9, 0.1]))).max() < 0.1


@pytest.mark.parametrize("labels", [0, 30])
@pytest.mark.parametrize("other", [np.nan, 1.0])
def test_a_teacher_of_share_0_is_never_chosen(labels, other):
    found, owner = wrong_rule()
    rows = np.flatnonzero(owner == 1)[:labels]
    fitted = LabelCorrection.fit(found, known(owner, rows, np.array([0.0, other])), CLASSES)
    corrected = fitted.apply(found)
    assert np.isfinite(corrected).all()
    assert (corrected.argmax(1) == 1).all()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, [0.5, 0.3, 0.2]),
        ([0.1, np.nan, np.nan], [0.1, 0.54, 0.36]),
        ([0.5, 0.25, 0.25], [0.5, 0.25, 0.25]),
        ([0.2, 0.1, 0.1], [0.5, 0.25, 0.25]),  # the rest is of no teacher
    ],
)
def test_unknown_shares_divide_the_rest_as_estimated(given, expected):
    known_ = None if given is None else np.array(given)
    assert np.allclose(replace_known(np.array([0.5, 0.3, 0.2]), known_), expected)


def test_counts_of_changes_leave_labelled_texts_out():
    found, owner = wrong_rule()
    fitted = LabelCorrection.fit(found, known(owner, np.arange(4)), CLASSES)
    rule, corrected = np.tile([1.0, 0.0], (600, 1)), np.tile([1.0, 0.0], (600, 1))
    corrected[[0, 10, 11]] = [0.0, 1.0]
    counted = fitted.count_changes(rule, corrected, known(owner, np.array([0, 1, 599])))
    assert (counted.changed, counted.rule_right) == (2, 2)


@pytest.fixture(scope="module")
def pool():
    texts, owner = planted((200, 200), seed=5)
    return texts, owner, np.random.default_rng(0).permutation(400).astype(np.uint64)


def test_labelled_texts_join_the_sample_and_others_are_corrected_alike(pool):
    texts, owner, ids = pool
    labels = Known(np.arange(0, 400, 10), np.eye(2, dtype=bool)[owner[::10]])
    weights = weights_for(encoder=True, names=True, features=True)
    model, scores = judge_pool(texts, ids, weights, reference=300, known=labels)
    assert len(model.views.views[0].graph.vectors) == len(np.union1d(np.argsort(ids)[:300], labels.rows))
    others = np.setdiff1d(np.argsort(ids)[300:], labels.rows)
    assert np.allclose(model.apply(texts.take(others)), scores[others])
    plain = replace(model, correction=None)
    assert np.allclose(model.correction.apply(plain.apply_rule(texts.take(others))), scores[others])
    assert not np.allclose(plain.apply(texts.take(others)), scores[others])


def test_the_saved_model_corrects_alike(pool):
    texts, owner, ids = pool
    labels = Known(np.arange(0, 400, 10), np.eye(2, dtype=bool)[owner[::10]])
    model, _ = judge_pool(texts, ids, weights_for(encoder=True, names=True, features=True), known=labels)
    again = restore(InDomainModel, flatten(model))
    assert np.array_equal(again.apply(texts.take(np.arange(50))), model.apply(texts.take(np.arange(50))))
