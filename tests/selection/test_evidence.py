import math

import numpy as np
import pytest
from scipy.special import ndtri

from muka_fast.selection.evidence import (
    FeatureGeometry,
    NameStatistics,
    NormalScores,
    TeacherEvidence,
    stack,
)
from tests.helpers.planted import planted

TEXTS, OWNER = planted()


def fit(teacher=0, names=True):
    columns = TEXTS.columns[teacher]
    similar = NameStatistics.fit(TEXTS.names).apply(TEXTS.names)[:, columns] if names else None
    return TeacherEvidence.fit(TEXTS.logits[teacher], TEXTS.features[teacher], similar)


def test_normal_scores_by_hand():
    scores = NormalScores(np.array([1.0, 2.0, 2.0, 5.0]))
    # Middle ranks: 1 → ½ of 4, 2 → 2 of 4, 5 → 3½ of 4; beyond the ends: half a text from the end.
    assert scores.apply(np.array([1.0, 2.0, 5.0, -9.0, 9.0])) == pytest.approx(ndtri([0.125, 0.5, 0.875, 0.125, 0.875]))


def test_class_means_come_from_the_confident_half():
    features = np.array([[0.0, 0], [0.2, 0], [9, 9], [9, 9.2], [5, 0], [5.2, 0], [-9, -9], [-9, -9.2]])
    predicted, peak = np.repeat([0, 1], 4), np.tile([0.9, 0.8, 0.2, 0.1], 2)
    geometry = FeatureGeometry.fit(features, predicted, peak)
    means = geometry.centres @ np.linalg.inv(geometry.whiten)
    assert means == pytest.approx(np.array([features[:3].mean(0), features[4:7].mean(0)]))  # at least three of a class


def test_every_number_is_larger_for_own_texts():
    for teacher in (0, 1):
        _, numbers = fit(teacher)
        own = teacher == OWNER
        for name, values in numbers.items():
            if name not in ("z norm", "a norm", "c norm", "rarity", "z dimension"):
                assert values[own].mean() > values[~own].mean(), name


def test_confidence_and_energy_by_hand():
    fitted, numbers = fit(names=False)
    logits = TEXTS.logits[0][0].astype(float)
    p = np.exp(logits) / np.exp(logits).sum()
    assert numbers["confidence"][0] == pytest.approx(1 + (p * np.log(p)).sum() / math.log(3), abs=1e-6)
    energy = math.log(np.exp(logits).sum())
    anchor = fitted.anchors["energy"]
    assert numbers["a energy"][0] == pytest.approx((energy - anchor) / (abs(anchor) + 0.5), abs=1e-5)


def test_texts_outside_the_pool_are_judged_by_themselves():
    fitted, _ = fit(names=False)
    together = fitted.apply(TEXTS.logits[0][:7], TEXTS.features[0][:7], None)
    alone = [fitted.apply(TEXTS.logits[0][i : i + 1], TEXTS.features[0][i : i + 1], None) for i in range(7)]
    for name, values in together.items():
        # Rounding may move a value across an equal one of the pool: half a rank.
        assert values == pytest.approx(np.concatenate([one[name] for one in alone]), abs=0.02), name


def test_without_features_only_the_answers_count():
    _, numbers = TeacherEvidence.fit(TEXTS.logits[0], None, None)
    assert set(numbers) == {"z confidence", "confidence", "logit", "a energy", "rarity", "c energy"}


def test_names_that_say_nothing_have_no_worth():
    random = np.random.default_rng(0)
    fitted, _ = TeacherEvidence.fit(TEXTS.logits[0], TEXTS.features[0], random.normal(size=(len(TEXTS), 3)))
    assert fitted.name_worth < 0.6 < fit()[0].name_worth


def test_a_single_class_is_always_confident():
    _, numbers = TeacherEvidence.fit(np.ones((30, 1), dtype=np.float32), None, None)
    assert (numbers["confidence"] == 1).all()


def test_columns_stand_in_the_order_asked_for():
    numbers = [{"a": np.array([1.0]), "b": np.array([2.0])}, {"a": np.array([3.0]), "b": np.array([4.0])}]
    assert stack(numbers, ("b", "a")).tolist() == [[[2.0, 1.0], [4.0, 3.0]]]
