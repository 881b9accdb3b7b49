"""The example of ``tests/helpers/pools.py``: three teachers with overlapping labels, four texts."""

import numpy as np
import pytest

from muka_fast.selection.base import targets
from muka_fast.selection.muka_rule import muka_rule
from muka_fast.selection.trust_scores import TRUST_SCORES
from tests.helpers.pools import POOL

# 1 − H(mean) / ln C, worked out by hand with six-place logarithms:
# H(.8,.2) = .500402, H(.6,.4) = .673012, H(.1,.9) = .325083, H(.75,.25) = .562335; ln 2 = .693147
# H(.3,.3,.4) = 1.088900, H(.5,.3,.2) = 1.029653; ln 3 = 1.098612
SCORES = np.array(
    [
        [0.27807191, 0.00884053, 0.02904941],
        [0.00000000, 1.00000000, 0.18872188],
        [0.53100441, 0.06276944, 0.00000000],
        [1.00000000, 0.00000000, 1.00000000],
    ]
)
# exp(score / 0.2) over the row's sum: the first row is 4.01630, 1.04519 and 1.15632 over 6.21781.
WEIGHTS = np.array(
    [
        [0.64593350, 0.16809674, 0.18596976],
        [0.00657971, 0.97651545, 0.01690484],
        [0.85725663, 0.08248055, 0.06026282],
        [0.49832117, 0.00335766, 0.49832117],
    ]
)
# Row 1, soft: x = .645934·.9 + .185970·.3, y = .645934·.1 + .168097·.2, z = .168097·.2,
# w = .168097·.6 + .185970·.7
SOFT = np.array(
    [
        [0.63713108, 0.09821270, 0.03361935, 0.23103688],
        [0.01005179, 0.00328985, 0.97651545, 0.01014290],
        [0.20158274, 0.73529364, 0.02474416, 0.03837946],
        [0.99664234, 0.00033577, 0.00033577, 0.00268613],
    ]
)
HARD = np.array([[0.9, 0.1, 0, 0], [0, 0, 1, 0], [0.2, 0.8, 0, 0], [1, 0, 0, 0]], dtype=np.float64)
MARGIN = np.array([0.24902250, 0.81127812, 0.46823497, 0.00000000]) + 1e-6


def test_trust_scores_and_soft_weights():
    trust = muka_rule(POOL)
    assert trust.trust_scores == pytest.approx(SCORES, abs=1e-6)
    assert trust.teacher_weights == pytest.approx(WEIGHTS, abs=1e-6)
    assert trust.teacher_weights.sum(1) == pytest.approx(np.ones(4), abs=1e-12)


def test_margin_weights_are_the_difference_of_the_two_largest_scores():
    assert muka_rule(POOL).sample_weight == pytest.approx(MARGIN, abs=1e-6)
    assert muka_rule(POOL, margin_weighting=False).sample_weight.tolist() == [1, 1, 1, 1]


def test_soft_targets():
    result = targets(POOL, muka_rule(POOL))
    assert result == pytest.approx(SOFT, abs=1e-6)
    assert result.sum(1) == pytest.approx(np.ones(4), abs=1e-6)


def test_hard_targets_take_the_first_of_equal_teachers():
    trust = muka_rule(POOL, hard=True)
    assert trust.chosen.tolist() == [0, 1, 0, 0]
    assert trust.teacher_weights.tolist() == [[1, 0, 0], [0, 1, 0], [1, 0, 0], [1, 0, 0]]
    assert trust.soft_weights == pytest.approx(muka_rule(POOL).teacher_weights)
    assert targets(POOL, trust) == pytest.approx(HARD, abs=1e-6)


@pytest.mark.parametrize("name", TRUST_SCORES)
def test_every_score_gives_weights_that_sum_to_one(name):
    trust = muka_rule(POOL, name)
    assert np.isfinite(trust.teacher_weights).all()
    assert trust.teacher_weights.sum(1) == pytest.approx(np.ones(4))
    assert trust.chosen.tolist() == trust.trust_scores.argmax(1).tolist()
