from dataclasses import replace

import numpy as np
import pytest

from muka_fast.distillation.losses import KLDistillationLoss
from muka_fast.distillation.targets import joint_targets, mixture_targets
from muka_fast.selection.base import targets
from muka_fast.selection.muka_rule import muka_rule
from tests.helpers.pools import POOL, SPACE, TWO


def test_joint_targets_are_the_softmax_of_all_logits():
    assert joint_targets(TWO, 2.0)[:] == pytest.approx(np.array([[2, 1, 3, 4, 1]]) / 11, rel=1e-5)


def test_joint_targets_add_up_a_shared_class():
    # Text 1: exponentials .9, .1 | .2, .2, .6 | .7, .3 for x y | y z w | w x, which add up to 3.
    assert SPACE.names == ("x", "y", "z", "w")
    assert joint_targets(POOL, 1.0)[0] == pytest.approx(np.array([1.2, 0.3, 0.2, 1.3]) / 3, rel=1e-4)


def test_mixture_targets_are_probabilities_weighted_as_selected():
    selection = muka_rule(POOL)
    learn = mixture_targets(POOL, selection)
    assert learn.targets[:] == pytest.approx(targets(POOL, selection))
    assert learn.sample_weight == pytest.approx(selection.sample_weight)
    assert isinstance(learn.loss_fn, KLDistillationLoss)
    assert (learn.loss_fn.temperature, learn.are_probabilities) == (1, True)


@pytest.mark.parametrize("hard", [False, True])
def test_targets_of_some_texts_are_those_of_all(hard):
    classes = np.array([-1, 2, -1, -1])
    pool = replace(POOL, classes=classes)
    selection = muka_rule(pool, hard=hard)
    learn, everything = mixture_targets(pool, selection), targets(pool, selection)
    assert everything[1].tolist() == [0, 0, 1, 0]
    for rows in (np.array([3, 1]), slice(1, 3)):
        assert np.array_equal(learn.targets[rows], everything[rows])
    assert np.array_equal(learn.targets[2], everything[2])
