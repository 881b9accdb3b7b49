import pytest

from muka_fast.config.methods import MethodConfig, method_names
from muka_fast.distillation.method import get_method, require_single_process
from muka_fast.errors import RecipeError
from tests.helpers.pools import POOL, TWO, method
from tests.helpers.recipes import recipe


def test_a_loss_with_parameters_needs_one_process():
    require_single_process(method("dfa"), 1)
    for name in method_names():
        if method(name).trains_loss:
            with pytest.raises(RecipeError, match="in one process, not in 2"):
                require_single_process(method(name), 2)
        else:
            require_single_process(method(name), 2)
    assert {name for name in method_names() if method(name).trains_loss} == {"dfa", "cfl"}


def test_a_recipe_gives_its_method():
    assert get_method(recipe(selection="vkd")).method == "vkd"
    with pytest.raises(TypeError, match="method 'bare' is not a subclass"):
        get_method(recipe(selection=MethodConfig(method="bare")))


@pytest.mark.parametrize("name", ["vkd", "uhc", "dfa", "cfl"])
def test_methods_of_all_teachers_show_the_share_of_the_joint_softmax(name):
    selection = method(name).select(TWO)
    assert selection.teacher_weights[0].tolist() == pytest.approx([5 / 31, 26 / 31], rel=1e-5)


@pytest.mark.parametrize("name", ["muka", "pool"])
def test_methods_that_mix_teachers_have_probabilities_as_targets(name):
    one = method(name)
    assert one.build_targets(POOL, one.select(POOL), 4).are_probabilities
