import numpy as np
import pytest

from muka_fast.selection.conditional_logit import LogitWeights, kind, weights_for
from muka_fast.selection.prototypes import NUMBERS
from muka_fast.selection.reliability import SIGNS


@pytest.mark.parametrize("encoder", [False, True])
@pytest.mark.parametrize("names", [False, True])
@pytest.mark.parametrize("features", [False, True])
def test_every_kind_of_evidence_has_weights(encoder, names, features):
    if names and not encoder:
        pytest.skip("names are compared in an encoder")
    weights = weights_for(encoder=encoder, names=names, features=features)
    assert set(weights.prototypes) == {"score", *NUMBERS}
    assert set(weights.reliability) == set(weights.lowest) == ({*SIGNS, "constant"} if encoder else set())
    assert {name.removeprefix("d ") for name in weights.evidence} == set(weights.numbers)
    assert any(name.startswith("name") for name in weights.numbers) == names
    assert any("mahalanobis" in name for name in weights.numbers) == features


def test_scores_by_hand():
    weights = LogitWeights(
        {"a": 2.0, "d a": -1.0}, dict.fromkeys(NUMBERS, 0.0) | {"score": 0.5, NUMBERS[0]: 3.0}, {}, {}
    )
    values, diffused = np.array([[[1.0], [0.0]]]), np.array([[[0.0], [1.0]]])
    first = weights.first_score(values, diffused)
    assert first.tolist() == [[2.0, -1.0]]
    numbers = np.zeros((1, 2, len(NUMBERS)))
    numbers[0, 1, 0] = 1.0
    # ½ · (2, −1) + (0, 3) = (1, 2.5), less their mean.
    assert weights.second_score(first, numbers).tolist() == [[-0.75, 0.75]]
    assert weights.second_score(first, None).tolist() == [[1.5, -1.5]]


def test_kinds_are_named_by_what_they_have():
    assert kind(encoder=True, names=False, features=True) == "encoder + features"
