import numpy as np
import pytest

from muka_fast.evaluation.calibration import expected_calibration_error, fit_temperature


def test_the_temperature_that_made_the_targets_is_found():
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 5)) * 3
    targets = np.exp(logits / 2.0)
    targets /= targets.sum(1, keepdims=True)
    assert fit_temperature(logits, targets, np.ones(400)) == pytest.approx(2.0, rel=0.02)


def test_texts_count_by_sample_weight():
    logits = np.array([[2.0, 0.0], [2.0, 0.0]])
    softer, sharper = 1 / (1 + np.exp(-2 / 4.0)), 1 / (1 + np.exp(-2 / 0.5))
    targets = np.array([[softer, 1 - softer], [sharper, 1 - sharper]])
    assert fit_temperature(logits, targets, np.array([1.0, 0.0])) == pytest.approx(4.0, rel=0.02)
    assert fit_temperature(logits, targets, np.array([0.0, 1.0])) == pytest.approx(0.5, rel=0.02)
    assert fit_temperature(logits, targets, np.zeros(2)) == 1


def test_calibration_error_by_hand():
    # Two bins: confidences .2 and .4 (mean .3), one of two right; .8 and 1, both right (mean .9).
    confidence, correct = np.array([0.2, 0.4, 0.8, 1.0]), np.array([True, False, True, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    assert expected_calibration_error(np.array([1.0]), np.array([True])) == 0
