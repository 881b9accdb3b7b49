import numpy as np
import pytest

from muka_fast.inference.base import Advance, LogitClassifier, TextClassifier, no_progress, require_list
from muka_fast.inference.predictions import Calibration


class Constant(LogitClassifier):
    """Gives every text the logits 0, 2."""

    labels = ("a", "b")

    def __init__(self, calibration):
        self.calibration = calibration

    def with_calibration(self, calibration):
        return Constant(calibration)

    def logits(self, texts, pairs=None, progress: Advance = no_progress):
        require_list(texts)
        progress(len(texts))
        return np.tile(np.array([0, 2], dtype=np.float32), (len(texts), 1))


def test_probabilities_and_predictions_follow_from_the_logits():
    classifier: TextClassifier = Constant(Calibration(2.0))
    counts: list[float] = []
    probabilities = classifier.predict_proba(["x", "y", "z"], progress=counts.append)
    assert probabilities == pytest.approx(np.tile([1 / (1 + np.e), np.e / (1 + np.e)], (3, 1)))
    assert (probabilities.dtype, counts) == (np.float32, [3])
    (one,) = classifier.classify(["x"])
    assert (one.label, one.probability) == ("b", pytest.approx(np.e / (1 + np.e)))
    assert one.energy == pytest.approx(np.logaddexp(0, 2))
    (one,) = classifier.with_calibration(Calibration(abstain_below=0.9)).classify(["x"])
    assert (one.label, one.probability) == (None, pytest.approx(1 / (1 + np.exp(-2))))


def test_one_string_is_refused():
    for call in (Constant(Calibration()).predict_proba, Constant(Calibration()).classify):
        with pytest.raises(TypeError, match="a list of texts"):
            call("one string")
