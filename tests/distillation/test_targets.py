from dataclasses import replace

import numpy as np
import pytest
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.distillation.losses import CFLLoss, DFALoss, KLDistillationLoss, UHCLoss
from muka_fast.distillation.targets import build_targets, require_single_process
from muka_fast.errors import RecipeError
from muka_fast.selection.base import Pool, select_teachers, targets
from muka_fast.uncertainty.signals import DeterministicOutput
from tests.helpers.pools import POOL, SPACE, spec


def pool(*logits, features=None):
    names = {f"t{i}": [f"{i}{j}" for j in range(len(rows[0]))] for i, rows in enumerate(logits)}
    looks = [
        DeterministicOutput(torch.tensor(rows), np.full((len(rows), 2), i)).signals() for i, rows in enumerate(logits)
    ]
    return Pool(tuple(looks), LabelSpace.union(names), np.arange(len(logits[0]), dtype=np.uint64))


TWO = pool([[np.log(4.0), 0.0]], [[np.log(9.0), np.log(16.0), 0.0]])
"""At T = 2 the logits' exponentials are 2, 1 and 3, 4, 1; at T = 1 they are 4, 1 and 9, 16, 1."""
PAIR = pool([[np.log(4.0), 0.0]] * 2, [[np.log(9.0), np.log(16.0), 0.0]] * 2)
"""The same text twice."""


def teach(method, given=TWO, **settings):
    settings = spec(method=method, distillation_temperature=2.0, **settings)
    return build_targets(given, select_teachers(given, settings), settings, student_width=4)


def test_vkd_is_the_softmax_of_all_logits():
    learn = teach("vkd")
    assert learn.targets == pytest.approx(np.array([[2, 1, 3, 4, 1]]) / 11, rel=1e-5)
    assert learn.sample_weight.tolist() == [1]
    assert isinstance(learn.loss_fn, KLDistillationLoss)
    assert learn.loss_fn.temperature == 2


def test_vkd_adds_up_a_shared_class():
    learn = build_targets(
        POOL, select_teachers(POOL, spec(method="vkd")), spec(method="vkd", distillation_temperature=1.0), 4
    )
    # Text 1: exponentials .9, .1 | .2, .2, .6 | .7, .3 for x y | y z w | w x, which add up to 3.
    assert SPACE.names == ("x", "y", "z", "w")
    assert learn.targets[0] == pytest.approx(np.array([1.2, 0.3, 0.2, 1.3]) / 3, rel=1e-4)


def test_uhc_keeps_each_teachers_distribution():
    learn = teach("uhc")
    assert learn.targets == pytest.approx(np.array([[2 / 3, 1 / 3, 3 / 8, 4 / 8, 1 / 8]]), rel=1e-5)
    assert isinstance(learn.loss_fn, UHCLoss)
    assert learn.loss_fn.columns == [[0, 1], [2, 3, 4]]


@pytest.mark.parametrize(("method", "kind"), [("dfa", DFALoss), ("cfl", CFLLoss)])
def test_feature_methods_add_features(method, kind):
    looks = [replace(one, features=np.array([[1.0, 5.0], [3.0, 5.0]]) + i) for i, one in enumerate(PAIR.signals)]
    learn = teach(method, replace(PAIR, signals=tuple(looks)))
    joint = [2 / 11, 1 / 11, 3 / 11, 4 / 11, 1 / 11]
    standard = np.array([[*joint, -1, 0, -1, 0], [*joint, 1, 0, 1, 0]])  # each column: mean 0, variance 1 or 0
    assert learn.targets == pytest.approx(standard, rel=1e-5, abs=1e-6)
    assert learn.targets.dtype == np.float32
    assert isinstance(learn.loss_fn, kind)
    assert (learn.loss_fn.classes, learn.loss_fn.widths) == (5, [2, 2])
    looks = tuple(
        DeterministicOutput(torch.from_numpy(one.logits), one.features[:, :0]).signals() for one in TWO.signals
    )
    with pytest.raises(RecipeError, match="'t0' has none"):
        teach(method, Pool(looks, TWO.space, TWO.ids))
    with pytest.raises(RecipeError, match="the student has none"):
        build_targets(TWO, select_teachers(TWO, spec(method=method)), spec(method=method), 0)


def test_objectives_with_parameters_need_one_process():
    require_single_process("dfa", 1)
    require_single_process("pool", 2)
    for method in ("dfa", "cfl"):
        with pytest.raises(RecipeError, match="in one process, not in 2"):
            require_single_process(method, 2)


def test_methods_that_choose_nobody_show_the_share_of_the_joint_softmax():
    for method in ("vkd", "uhc", "dfa", "cfl"):
        trust = select_teachers(TWO, spec(method=method))
        assert trust.weights == pytest.approx(np.array([[5 / 31, 26 / 31]]), rel=1e-5)


def test_methods_that_choose_teach_the_mixture():
    trust = select_teachers(POOL, spec(method="muka"))
    learn = build_targets(POOL, trust, spec(method="muka"), 4)
    assert learn.targets == pytest.approx(targets(POOL, trust))
    assert learn.sample_weight == pytest.approx(trust.sample_weight)
