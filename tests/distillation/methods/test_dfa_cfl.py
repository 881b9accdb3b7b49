from dataclasses import replace

import numpy as np
import pytest
import torch

from muka_fast.distillation.losses import CFLLoss, DFALoss
from muka_fast.errors import RecipeError
from muka_fast.uncertainty.signals import DeterministicOutput
from tests.helpers.pools import TWO, logits_pool, method

PAIR = logits_pool([[np.log(4.0), 0.0]] * 2, [[np.log(9.0), np.log(16.0), 0.0]] * 2)
"""The text of ``TWO``, twice."""


def learnt(name, pool, width=4):
    one = method(name, distillation_temperature=2.0)
    return one.build_targets(pool, one.select(pool), width)


@pytest.mark.parametrize(("name", "kind"), [("dfa", DFALoss), ("cfl", CFLLoss)])
def test_feature_methods_add_features(name, kind):
    looks = [replace(one, features=np.array([[1.0, 5.0], [3.0, 5.0]]) + i) for i, one in enumerate(PAIR.signals)]
    learn = learnt(name, replace(PAIR, signals=tuple(looks)))
    joint = [2 / 11, 1 / 11, 3 / 11, 4 / 11, 1 / 11]
    standard = np.array([[*joint, -1, 0, -1, 0], [*joint, 1, 0, 1, 0]])  # each column: mean 0, variance 1 or 0
    assert learn.targets[:] == pytest.approx(standard, rel=1e-5, abs=1e-6)
    assert learn.targets[:].dtype == np.float32
    assert isinstance(learn.loss_fn, kind)
    assert (learn.loss_fn.classes, learn.loss_fn.widths) == (5, [2, 2])


@pytest.mark.parametrize("name", ["dfa", "cfl"])
def test_feature_methods_refuse_models_without_features(name):
    looks = tuple(
        DeterministicOutput(torch.from_numpy(one.logits), one.features[:, :0]).signals() for one in TWO.signals
    )
    with pytest.raises(RecipeError, match="'t0' has none"):
        learnt(name, replace(TWO, signals=looks))
    with pytest.raises(RecipeError, match="the student has none"):
        learnt(name, TWO, width=0)
