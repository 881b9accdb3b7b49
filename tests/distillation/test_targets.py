from dataclasses import replace

import numpy as np
import pytest
import torch

from muka_fast.data.label_space import LabelSpace
from muka_fast.distillation.losses import CommonFeatures, Distillation, FeatureAmalgamation, HeterogeneousDistillation
from muka_fast.distillation.targets import lesson, require_alone
from muka_fast.errors import RecipeError
from muka_fast.selection.base import Pool, judge, targets
from muka_fast.uncertainty.signals import FirstLook
from tests.helpers.pools import POOL, SPACE, spec


def pool(*logits, features=None):
    names = {f"t{i}": [f"{i}{j}" for j in range(len(rows[0]))] for i, rows in enumerate(logits)}
    looks = [FirstLook(torch.tensor(rows), np.full((len(rows), 2), i)).signals() for i, rows in enumerate(logits)]
    return Pool(tuple(looks), LabelSpace.union(names), np.arange(len(logits[0]), dtype=np.uint64))


TWO = pool([[np.log(4.0), 0.0]], [[np.log(9.0), np.log(16.0), 0.0]])
"""At T = 2 the logits' exponentials are 2, 1 and 3, 4, 1; at T = 1 they are 4, 1 and 9, 16, 1."""
PAIR = pool([[np.log(4.0), 0.0]] * 2, [[np.log(9.0), np.log(16.0), 0.0]] * 2)
"""The same text twice."""


def teach(method, given=TWO, **settings):
    settings = spec(method=method, distillation_temperature=2.0, **settings)
    return lesson(given, judge(given, settings), settings, student_width=4)


def test_vkd_is_the_softmax_of_all_logits():
    learn = teach("vkd")
    assert learn.targets == pytest.approx(np.array([[2, 1, 3, 4, 1]]) / 11, rel=1e-5)
    assert learn.importance.tolist() == [1]
    assert isinstance(learn.objective, Distillation)
    assert learn.objective.temperature == 2


def test_vkd_adds_up_a_shared_class():
    learn = lesson(POOL, judge(POOL, spec(method="vkd")), spec(method="vkd", distillation_temperature=1.0), 4)
    # Text 1: exponentials .9, .1 | .2, .2, .6 | .7, .3 for x y | y z w | w x, which add up to 3.
    assert SPACE.names == ("x", "y", "z", "w")
    assert learn.targets[0] == pytest.approx(np.array([1.2, 0.3, 0.2, 1.3]) / 3, rel=1e-4)


def test_uhc_keeps_each_teachers_distribution():
    learn = teach("uhc")
    assert learn.targets == pytest.approx(np.array([[2 / 3, 1 / 3, 3 / 8, 4 / 8, 1 / 8]]), rel=1e-5)
    assert isinstance(learn.objective, HeterogeneousDistillation)
    assert learn.objective.columns == [[0, 1], [2, 3, 4]]


@pytest.mark.parametrize(("method", "kind"), [("dfa", FeatureAmalgamation), ("cfl", CommonFeatures)])
def test_feature_methods_add_features(method, kind):
    looks = [replace(one, features=np.array([[1.0, 5.0], [3.0, 5.0]]) + i) for i, one in enumerate(PAIR.signals)]
    learn = teach(method, replace(PAIR, signals=tuple(looks)))
    joint = [2 / 11, 1 / 11, 3 / 11, 4 / 11, 1 / 11]
    standard = np.array([[*joint, -1, 0, -1, 0], [*joint, 1, 0, 1, 0]])  # each column: mean 0, variance 1 or 0
    assert learn.targets == pytest.approx(standard, rel=1e-5, abs=1e-6)
    assert learn.targets.dtype == np.float32
    assert isinstance(learn.objective, kind)
    assert (learn.objective.classes, learn.objective.widths) == (5, [2, 2])
    looks = tuple(FirstLook(torch.from_numpy(one.logits), one.features[:, :0]).signals() for one in TWO.signals)
    with pytest.raises(RecipeError, match="'t0' has none"):
        teach(method, Pool(looks, TWO.space, TWO.ids))
    with pytest.raises(RecipeError, match="the student has none"):
        lesson(TWO, judge(TWO, spec(method=method)), spec(method=method), 0)


def test_objectives_with_parameters_need_one_process():
    require_alone("dfa", 1)
    require_alone("pool", 2)
    for method in ("dfa", "cfl"):
        with pytest.raises(RecipeError, match="in one process, not in 2"):
            require_alone(method, 2)


def test_methods_that_choose_nobody_show_the_share_of_the_joint_softmax():
    for method in ("vkd", "uhc", "dfa", "cfl"):
        trust = judge(TWO, spec(method=method))
        assert trust.weights == pytest.approx(np.array([[5 / 31, 26 / 31]]), rel=1e-5)


def test_methods_that_choose_teach_the_mixture():
    trust = judge(POOL, spec(method="muka"))
    learn = lesson(POOL, trust, spec(method="muka"), 4)
    assert learn.targets == pytest.approx(targets(POOL, trust))
    assert learn.importance == pytest.approx(trust.importance)
