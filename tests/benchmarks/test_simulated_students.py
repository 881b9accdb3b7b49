"""Targets, temperatures and figures of the cheap students, on a pool made here."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import calibration
import selection_students
from simulated_students import StudentPool


def make_pool(texts=400):
    """Two teachers of two classes each; the posterior is right for every text but the last, which has no owner."""
    random = np.random.default_rng(0)
    classes = random.integers(0, 4, texts)
    embeddings = np.eye(4)[classes] * 3 + random.normal(size=(texts, 4))
    own = classes // 2
    logits = tuple(np.where(np.eye(2)[classes % 2] == 1, 2.0, 0.0) * (own == teacher)[:, None] for teacher in (0, 1))
    scores = np.eye(2)[own] * 2.0
    known_by = np.eye(2)[own] == 1
    known_by[-1], classes[-1] = False, -1
    columns = (np.array([0, 1]), np.array([2, 3]))
    return StudentPool(
        "made", "balanced", frozenset({"made"}), columns, embeddings, logits, scores, 0.9, known_by, classes,
        embeddings[:200], classes[:200],
    )  # fmt: skip


def test_targets_are_distributions_and_students_learn_them():
    pool = make_pool()
    for name, make in (selection_students.BASELINES | selection_students.VARIANTS).items():
        targets, weight = make(pool)
        owned = weight > 0
        assert targets[owned].sum(1) == pytest.approx(np.ones(owned.sum())), name
        assert (weight >= 0).all()
    row = selection_students.measure(pool)
    assert row["oracle"] > 80
    assert row["mixture"] > 80


def test_without_doubt_and_at_temperature_one_the_mixtures_are_one():
    pool = make_pool()
    mixed = selection_students.mixture(pool)
    assert selection_students.softened(pool, 1) == pytest.approx(mixed, abs=1e-6)
    assert selection_students.smoothed(pool, 0) == pytest.approx(mixed)
    assert selection_students.votes(pool).max(1) == pytest.approx(selection_students.posterior(pool).max(1), abs=0.3)


def test_gaps_are_averaged_where_the_oracle_is_better():
    rows = [{"muka": 50.0, "oracle": 60.0, "x": 55.0}, {"muka": 50.0, "oracle": 51.0, "x": 90.0}]
    assert selection_students.gaps_closed(rows, "x") == [50.0]


def test_class_recall_weighs_classes_alike_and_leaves_unknown_texts_out():
    classes, predicted = np.array([0, 0, 0, 1, -1]), np.array([0, 0, 1, 1, 0])
    assert selection_students.class_recall(classes, predicted) == pytest.approx(100 * (2 / 3 + 1) / 2)


def test_adaptive_error_by_hand():
    confidence, correct = np.array([0.9, 0.5, 0.7, 0.3]), np.array([True, True, False, False])
    # Bins .3, .5 (one of two right: gap −.2) and .7, .9 (one of two right: gap +.6).
    assert calibration.adaptive_error(confidence, correct, bins=2) == pytest.approx((0.2 + 0.6) / 4)


def test_a_case_has_a_row_with_every_fit():
    pool = make_pool()
    case = next(calibration.students(pool))
    row = calibration.measure(case)
    assert {*calibration.FITS, "labels alone", "votes and labels"} <= set(row["fits"])
    assert row["fits"]["none"]["temperature"] == 1
    assert row["fits"]["labels alone"]["ece"] < row["fits"]["none"]["ece"]
    (line,) = [one for one in calibration.summary([row]) if one["fit"] == "votes" and one["penalty"] is None]
    assert line["ece"] == row["fits"]["votes"]["ece"]
