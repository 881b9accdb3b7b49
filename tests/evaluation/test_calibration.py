import numpy as np
import pytest

from muka_fast.evaluation.calibration import LabelledLogits, expected_calibration_error, fit_temperature, fit_threshold
from muka_fast.runtime.numerics import softmax


def test_the_temperature_that_made_the_votes_is_found():
    random = np.random.default_rng(0)
    logits = random.normal(size=(400, 5)) * 3
    votes = softmax(logits / 2.0)
    assert fit_temperature(logits, votes) == pytest.approx(2.0, rel=0.05)


def test_labels_count_beside_the_votes():
    """A vote for .75 of logits ±2 needs another temperature than labels of which nine of ten are right."""
    logits = np.array([[2.0, 0.0]] * 100)
    votes = np.array([[0.75, 0.25]] * 100)
    few, many = (LabelledLogits(np.tile(logits[:10], (n, 1)), np.tile([0] * 9 + [1], n)) for n in (1, 100))
    alone, together, labels = (fit_temperature(logits, votes, one) for one in (None, few, many))
    assert alone == pytest.approx(2 / np.log(3), rel=0.15)
    assert labels < together < alone
    assert fit_temperature(logits[:0], votes[:0], many) == pytest.approx(2 / np.log(9), rel=0.05)


def test_without_texts_or_where_no_temperature_fits_better_it_is_one():
    nothing = np.zeros((0, 2))
    assert fit_temperature(nothing, nothing) == 1
    assert fit_temperature(nothing, nothing, LabelledLogits(nothing, np.zeros(0, dtype=int))) == 1
    assert fit_temperature(np.zeros((60, 2)), np.full((60, 2), 0.5)) == 1


def test_calibration_error_by_hand():
    # Two bins: confidences .2 and .4 (mean .3), one of two right; .8 and 1, both right (mean .9).
    confidence, correct = np.array([0.2, 0.4, 0.8, 1.0]), np.array([True, False, True, True])
    assert expected_calibration_error(confidence, correct, bins=2) == pytest.approx(0.5 * 0.2 + 0.5 * 0.1)
    assert expected_calibration_error(np.array([1.0]), np.array([True])) == 0


@pytest.mark.parametrize(
    ("confidence", "right", "weight", "target", "expected"),
    [
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 0], [1, 1, 1, 1], 0.6, 0.7),
        ([0.9, 0.8, 0.7, 0.6], [1, 1, 0, 1], [1, 1, 1, 1], 0.75, 0.6),  # later texts may make up for a wrong one
        ([0.9, 0.8, 0.8, 0.8], [1, 1, 0, 0], [1, 1, 1, 1], 0.9, 0.9),  # equal confidences stay together
        ([0.9, 0.8], [1, 0], [1, 0.1], 0.9, 0.8),
        ([0.9, 0.8], [0, 0], [1, 1], 0.9, 1.0),
        ([], [], [], 0.9, 1.0),
    ],
)
def test_the_threshold_is_the_smallest_with_the_accuracy(confidence, right, weight, target, expected):
    given = (np.array(one, dtype=float) for one in (confidence, right, weight))
    assert fit_threshold(*given, target) == expected
