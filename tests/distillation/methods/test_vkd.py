import numpy as np
import pytest

from muka_fast.distillation.losses import KLDistillationLoss
from tests.helpers.pools import TWO, method


def test_vkd_trains_on_the_joint_softmax_at_its_temperature():
    vkd = method("vkd", distillation_temperature=2.0)
    learn = vkd.build_targets(TWO, vkd.select(TWO), 4)
    assert learn.targets[:] == pytest.approx(np.array([[2, 1, 3, 4, 1]]) / 11, rel=1e-5)
    assert learn.sample_weight.tolist() == [1]
    assert isinstance(learn.loss_fn, KLDistillationLoss)
    assert learn.loss_fn.temperature == 2
    assert not learn.are_probabilities
