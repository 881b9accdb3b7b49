import math

import numpy as np
import pytest

from muka_fast.errors import ModelError
from muka_fast.inference.predictions import Calibration, decode, decode_probabilities
from muka_fast.runtime.numerics import softmax


def test_decode_equals_hand_computed_figures():
    logits = np.log(np.array([[1.0, 3.0], [1.0, 1.0]], dtype=np.float32))
    first, second = decode(logits, ("a", "b"))
    assert (first.label, first.probability) == ("b", pytest.approx(0.75))
    assert first.entropy == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75), abs=1e-6)
    assert first.energy == pytest.approx(math.log(4), abs=1e-6)
    assert (second.entropy, second.energy) == (pytest.approx(math.log(2)), pytest.approx(math.log(2)))


def test_a_temperature_flattens_and_leaves_the_energy():
    logits = np.array([[0.0, 4.0]], dtype=np.float32)
    (sharp,), (flat,) = decode(logits, ("a", "b")), decode(logits, ("a", "b"), Calibration(4.0))
    assert flat.probability == pytest.approx(1 / (1 + math.exp(-1)))
    assert flat.entropy > sharp.entropy
    assert flat.energy == sharp.energy


def test_huge_logits_and_no_texts():
    (one,) = decode(np.array([[1e4, -1e4]], dtype=np.float32), ("a", "b"))
    assert (one.probability, one.entropy, one.energy) == (1.0, 0.0, 1e4)
    assert decode(np.zeros((0, 2), dtype=np.float32), ("a", "b")) == []
    assert softmax(np.zeros((2, 4), dtype=np.float32)).tolist() == [[0.25] * 4] * 2


def test_below_its_threshold_no_class_is_named():
    logits = np.log(np.array([[3.0, 1.0], [1.0, 1.0]]))
    found = decode(logits, ("a", "b"), Calibration(abstain_below=0.6))
    assert [one.label for one in found] == ["a", None]
    assert [one.probability for one in found] == pytest.approx([0.75, 0.5])
    assert [one.label for one in decode(logits, ("a", "b"), Calibration(2.0, 0.64))] == [None, None]  # √3 : 1 is .634
    assert Calibration.read(None) == (1.0, 0.0, 1.0)
    assert Calibration.read({"temperature": 2.0, "abstain_below": 0.1}) == (2.0, 0.1, 1.0)


def test_decode_probabilities_has_no_energy():
    probabilities = np.array([[0.25, 0.75, 0.0], [0.4, 0.2, 0.4]], dtype=np.float32)
    first, second = decode_probabilities(probabilities, ("a", "b", "c"), Calibration(abstain_below=0.5))
    assert (first.label, first.probability, first.energy) == ("b", pytest.approx(0.75), None)
    assert first.entropy == pytest.approx(-0.25 * math.log(0.25) - 0.75 * math.log(0.75), abs=1e-6)
    assert (second.label, second.probability) == (None, pytest.approx(0.4))
    (flat, _) = decode_probabilities(probabilities, ("a", "b", "c"), Calibration(2.0))
    assert flat.probability == pytest.approx(math.sqrt(3) / (1 + math.sqrt(3)))  # √3 : 1
    assert decode_probabilities(np.zeros((0, 2), dtype=np.float32), ("a", "b")) == []


@pytest.mark.parametrize(
    "saved",
    [
        {"temperature": value}
        for value in (0, -1, float("nan"), float("inf"), "1", None, [], True, 1e-300, 1e300, 10**400)
    ]
    + [{"abstain_below": value} for value in (-0.1, 1.1, float("nan"), "0", None, False)]
    + [{"folded_temperature": value} for value in (0, float("inf"), "1")]
    + [{"t": 1.0}, [1.0, 0.0], "1", 1, {1: 2}, True],
    ids=str,
)
def test_a_saved_calibration_that_is_none_is_refused(saved):
    with pytest.raises(ModelError, match="no valid calibration") as refused:
        Calibration.read(saved, "model x")
    assert refused.value.where == "model x"
    assert len(refused.value.what) < 200


def test_a_saved_calibration_is_read_as_numbers():
    assert Calibration.read({"temperature": 2, "abstain_below": 0.5}) == (2.0, 0.5, 1.0)
    assert Calibration.read({}) == Calibration.read(None) == (1.0, 0.0, 1.0)
