"""The example of ``tests/helpers/pools.py``: three teachers with overlapping labels, four texts."""

import numpy as np
import pytest

from muka_fast.selection.base import Selection, class_votes, joint_softmax_rule, teacher_predictions
from tests.helpers.pools import POOL, SPACE


def test_label_space_of_the_example():
    assert SPACE.names == ("x", "y", "z", "w")
    assert SPACE.union_index == ((0, 1), (1, 2, 3), (3, 0))


def test_teacher_predictions_are_union_columns():
    assert teacher_predictions(POOL).tolist() == [[0, 3, 3], [0, 2, 3], [1, 1, 3], [0, 3, 0]]


def test_votes_weigh_each_teachers_most_likely_class():
    weights = np.array([[0.1, 0.2, 0.7], [0.5, 0.3, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    selection = Selection(weights, weights, np.ones(4), hard=True)
    # Predictions of the texts 3 and 1: columns 1, 1, 3 and 0, 3, 3.
    votes = class_votes(POOL, selection, np.array([2, 0]))
    assert votes == pytest.approx(np.array([[0, 0.9, 0, 0.1], [0.1, 0, 0, 0.9]]))


def test_margin_is_between_the_two_largest_of_many():
    trust = Selection(np.array([[0.1, 0.9, 0.5, 0.7]]), np.ones((1, 4)) / 4, np.ones(1))
    assert trust.margin == pytest.approx([0.2])


def test_the_joint_softmax_weights_teachers_by_their_classes():
    # Text 1: exponentials .9, .1 | .2, .2, .6 | .7, .3 add up to 3, and to 1 for each teacher.
    selection = joint_softmax_rule(POOL)
    assert selection.teacher_weights[0] == pytest.approx(np.full(3, 1 / 3), rel=1e-5)
    assert selection.sample_weight.tolist() == [1, 1, 1, 1]
