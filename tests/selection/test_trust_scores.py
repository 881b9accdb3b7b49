import math

import numpy as np
import pytest
import torch

from muka_fast.errors import RecipeError
from muka_fast.selection.trust_scores import TRUST_SCORES, level_temperature
from muka_fast.uncertainty.signals import Signals
from tests.helpers.pools import A, B, C


def test_the_other_scores_by_hand():
    single = TRUST_SCORES["single-pass-entropy"](A)
    assert single == pytest.approx([0.53100441, 0, 0.27807191, 1], abs=1e-6)
    assert TRUST_SCORES["max-probability"](B) == pytest.approx([0.6, 1.0, 0.6, 0.8], abs=1e-6)
    assert TRUST_SCORES["mc-energy"](C).tolist() == [0, 0, 0, 9]
    logits = np.array([[1.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    one = Signals(logits, logits, *([np.zeros(2, dtype=np.float32)] * 4), np.ones(2, dtype=np.int32), logits)
    assert TRUST_SCORES["energy"](one) == pytest.approx([math.log(math.e + math.e**2), math.log(2)], abs=1e-6)


def test_scores_of_the_passes_and_of_the_pool_by_hand():
    # Expected entropy is half the predictive one here, so the mutual information is the other half.
    assert TRUST_SCORES["mutual-information"](A) == pytest.approx(
        0.5 + np.array([0.27807191, 0, 0.53100441, 1]) / 2, abs=1e-6
    )
    # Energies ln of 1, 2, 4, 16, 64: 0, 1, 2, 4, 6 times ln 2; median 2, absolute deviations 2, 1, 0, 2, 4: median 2.
    logits = np.log(np.array([[0.5, 0.5], [1, 1], [2, 2], [8, 8], [32, 32]], dtype=np.float32))
    nothing = np.zeros(5, dtype=np.float32)
    one = Signals(logits, logits, *([nothing] * 4), np.ones(5, dtype=np.int32), logits[:, :0])
    by_hand = (np.array([0, 1, 2, 4, 6]) - 2) / (1.4826 * 2)
    assert TRUST_SCORES["standard-energy"](one) == pytest.approx(by_hand, abs=1e-5)
    with pytest.raises(RecipeError, match="needs features"):
        TRUST_SCORES["relative-mahalanobis"](one)


def test_the_temperature_that_makes_a_teacher_as_often_sure_as_unsure():
    # Entropy of (p, 1 − p) is half a bit at p = .889972, log odds 2.090457: logits (a, 0) need T = a / 2.090457.
    nothing = np.zeros(4, dtype=np.float32)
    for a in (0.5, 4.0):
        logits = np.array([[a, 0], [0, a], [a, 0], [-a, 0]], dtype=np.float32)
        assert level_temperature(torch.from_numpy(logits)) == pytest.approx(a / 2.090457, rel=1e-5)
        one = Signals(logits, logits, *([nothing] * 4), np.ones(4, dtype=np.int32), logits[:, :0])
        assert TRUST_SCORES["tempered-entropy"](one) == pytest.approx(np.full(4, 0.5), abs=1e-5)
    assert np.isfinite(level_temperature(torch.zeros(3, 2)))


def test_relative_mahalanobis_by_hand():
    # Two classes at −3 and 3, within-class variance 1; all: mean 0, variance 10; one dimension shrinks to itself.
    features = np.array([[-4.0], [-2], [2], [4]], dtype=np.float32)
    logits = 50 * np.array([[1, 0], [1, 0], [0, 1], [0, 1]], dtype=np.float32)
    nothing = np.zeros(4, dtype=np.float32)
    one = Signals(logits, logits, *([nothing] * 4), np.ones(4, dtype=np.int32), features)
    assert TRUST_SCORES["relative-mahalanobis"](one) == pytest.approx([1.6 - 1, 0.4 - 1, 0.4 - 1, 1.6 - 1], abs=1e-5)
