import numpy as np
import pytest

from muka_fast.distillation.losses import UHCLoss
from tests.helpers.pools import TWO, method


def test_uhc_keeps_each_teachers_distribution():
    uhc = method("uhc", distillation_temperature=2.0)
    learn = uhc.build_targets(TWO, uhc.select(TWO), 4)
    assert learn.targets[:] == pytest.approx(np.array([[2 / 3, 1 / 3, 3 / 8, 4 / 8, 1 / 8]]), rel=1e-5)
    assert isinstance(learn.loss_fn, UHCLoss)
    assert (learn.loss_fn.columns, learn.loss_fn.temperature) == ([[0, 1], [2, 3, 4]], 2)
    assert not learn.are_probabilities
