import numpy as np
import pytest

from muka_fast.selection.prototypes import NUMBERS, Prototypes
from tests.helpers.planted import planted

TEXTS, OWNER = planted()


def fit(confidence=0.8):
    posterior = np.where(np.eye(2)[OWNER] > 0, confidence, 1 - confidence)
    margins = np.where(np.eye(2)[OWNER] > 0, 1.0, -1.0) + np.random.default_rng(0).normal(size=(len(OWNER), 2)) * 0.1
    return Prototypes.fit(TEXTS.embeddings.astype(float), posterior, margins, TEXTS.predicted, [3, 3])


def test_prototypes_separate_the_teachers():
    prototypes, numbers = fit()
    assert prototypes.purity > 0.9
    for name in ("prototype z", "prototype", "prototype pure", "prototype balanced"):
        values = numbers[:, :, NUMBERS.index(name)]
        assert (values.argmax(1) == OWNER).mean() > 0.95, name


def test_texts_outside_the_pool_get_nearly_the_same_numbers():
    prototypes, numbers = fit()
    again = prototypes.apply(TEXTS.embeddings.astype(float), TEXTS.predicted)
    # Anchors are nearer to a mean that they were counted in, so only the others are equal.
    assert np.isclose(again, numbers, atol=1e-9).all(2).mean() > 0.2
    assert np.abs(again - numbers).max() < 1


def test_no_class_with_enough_texts_gives_no_prototypes():
    predicted = np.array([[0, 0], [1, 1]])
    assert Prototypes.fit(np.eye(2), np.full((2, 2), 0.5), np.zeros((2, 2)), predicted, [2, 2]) is None


def test_the_class_share_tells_classes_that_a_teacher_predicts_on_others_texts():
    prototypes, _ = fit(0.99)
    # All classes are predicted on half own, half other texts: log of 2 · ½ · (own share) over 1.
    assert np.concatenate(prototypes.class_share) == pytest.approx(np.zeros(6), abs=0.2)
