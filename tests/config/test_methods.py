import subprocess
import sys
from typing import Literal

import pytest
import yaml
from pydantic import ValidationError

from muka_fast.config.methods import (
    MethodConfig,
    find_method,
    method_names,
    parse_method,
    register_method,
    unregister_method,
)
from muka_fast.config.recipe import Recipe
from muka_fast.errors import RecipeError
from tests.helpers.recipes import build, recipe, tree


@pytest.mark.parametrize("selection", [None, {}, {"method": None}, "pool", {"targets": "soft"}])
def test_pool_is_the_method_where_none_is_named(selection):
    assert build(tree(selection=selection)).selection == recipe().selection == parse_method("pool")


def test_every_method_has_a_schema_of_its_own():
    assert method_names()[0] == "pool"
    assert set(method_names()) == {"pool", "muka", "vkd", "uhc", "dfa", "cfl", "ensemble"}
    fields = {name: set(find_method(name).model_fields) for name in method_names()}
    assert fields["pool"] == fields["ensemble"] == {"method", "targets", "encoder", "labelled", "shares"}
    assert fields["vkd"] == fields["uhc"] == fields["dfa"] == fields["cfl"] == {"method", "distillation_temperature"}
    assert fields["muka"] == {"method", "trust", "targets", "temperature", "margin_weighting"}


@pytest.mark.parametrize("key", ["trust=energy", "temperature=0.1", "margin_weighting=false"])
def test_a_key_never_switches_the_method(key):
    for overrides in ([f"selection.{key}"], ["selection.method=vkd", f"selection.{key}"]):
        with pytest.raises(RecipeError) as refused:
            recipe(*overrides)
        assert refused.value.what == f"unknown key 'selection.{key.partition('=')[0]}'"
        assert refused.value.hint.startswith("did you mean method: muka?")
    assert recipe("selection.method=muka", f"selection.{key}").selection.method == "muka"


def test_unknown_methods_and_keys_name_the_nearest():
    with pytest.raises(RecipeError, match="unknown method 'mukka'") as refused:
        recipe(selection="mukka")
    assert refused.value.hint == "did you mean 'muka'?"
    with pytest.raises(RecipeError) as refused:
        recipe(selection="something")
    assert refused.value.hint == "known methods: pool, cfl, dfa, ensemble, muka, uhc, vkd"
    with pytest.raises(RecipeError) as refused:
        recipe("selection.method=muka", "selection.temprature=0.1")
    assert refused.value.hint == "did you mean 'temperature'?"
    with pytest.raises(RecipeError) as refused:
        recipe("selection.xyz=0.1")
    assert refused.value.hint == "keys of method 'pool': method, targets, encoder, labelled, shares"
    with pytest.raises(RecipeError, match="give the method's name, or a section"):
        recipe(selection=[1])


def test_an_override_of_the_method_replaces_that_of_the_file():
    file = {"method": "muka", "trust": "energy", "targets": "hard"}
    assert recipe("selection.method=pool", selection=dict(file)).selection == parse_method(
        {"method": "pool", "targets": "hard"}
    )
    kept = recipe("selection.method=muka", "selection.temperature=0.3", selection=dict(file)).selection
    assert kept == parse_method(file | {"temperature": 0.3})
    with pytest.raises(RecipeError, match=r"unknown key 'selection\.trst'"):  # no method's key is not dropped
        recipe("selection.method=pool", selection={"method": "muka", "trst": "energy"})


def test_resolved_recipes_hold_the_keys_of_their_method():
    for name in method_names():
        stored = yaml.safe_load(recipe(f"selection.method={name}").dump())
        assert stored["selection"].keys() == find_method(name).model_fields.keys()
        assert build(stored).selection == parse_method(name)


def test_the_json_schema_has_one_branch_a_method():
    schema = Recipe.model_json_schema()
    branches = schema["properties"]["selection"]["anyOf"][-1]["discriminator"]["mapping"]
    assert branches.keys() == set(method_names())
    for name, reference in branches.items():
        branch = schema["$defs"][reference.rpartition("/")[2]]
        assert branch["properties"].keys() == find_method(name).model_fields.keys()
        assert branch["properties"]["method"]["const"] == name
        assert branch.get("required", []) == ([] if name == "pool" else ["method"])


def test_two_methods_cannot_share_a_name():
    class Mine(MethodConfig):
        method: Literal["mine"] = "mine"

    class Other(MethodConfig):
        method: Literal["mine"] = "mine"

    class Nameless(MethodConfig):
        pass

    assert register_method(Mine) is register_method(Mine) is find_method("mine")
    try:
        with pytest.raises(ValueError, match="two methods are named 'mine'"):
            register_method(Other)
    finally:
        unregister_method("mine")
    assert find_method("mine") is None
    with pytest.raises(TypeError, match="Nameless needs a field"):
        register_method(Nameless)
    with pytest.raises(ValidationError, match="unknown method 'mine'"):
        parse_method("mine")


def test_labelled_texts_are_a_data_section_with_paths_from_the_recipes_folder():
    for section in ("few.csv", ["few.csv"], {"texts": "few.csv", "label_column": "class"}):
        own = recipe(selection={"labelled": section}).selection.labelled_texts
        assert own.texts == ["/base/few.csv"]
    assert own.label_column == "class"
    assert recipe(selection="muka").selection.labelled_texts is None
    with pytest.raises(RecipeError, match="unknown key"):
        recipe("selection.method=muka", "selection.labelled=few.csv")


def test_known_shares_are_not_negative_and_at_most_one_together():
    assert recipe("selection.shares={a: 0.1}").selection.known_shares == {"a": 0.1}
    assert recipe("selection.shares={a: 0}").selection.known_shares == {"a": 0.0}
    assert recipe("selection.shares={a: 0.7, b: 0.3}").selection.known_shares == {"a": 0.7, "b": 0.3}
    assert recipe().selection.known_shares == {}
    for wrong in ("{a: -0.1}", "{a: 1.1}", "{a: 0.6, b: 0.5}", "{a: many}", "0.5"):
        with pytest.raises(RecipeError, match="shares"):
            recipe(f"selection.shares={wrong}")


PLUG_IN = """
from typing import Literal
from muka_fast.config.methods import MethodConfig, register_method

@register_method
class Installed(MethodConfig):
    method: Literal["installed"] = "installed"
    strength: float = 0.5
"""
READ = """
import sys
from muka_fast import MukaError, read_recipe
from muka_fast.config.methods import method_names
print(method_names())
print(read_recipe("recipe.yaml", ["selection.strength=0.7"]).selection.strength)
try:
    read_recipe("recipe.yaml", ["selection.method=broken"])
except MukaError as error:
    print(error)
print("torch" in sys.modules)
"""


def test_installed_packages_add_methods(tmp_path):
    (tmp_path / "plug_in.py").write_text(PLUG_IN)
    (tmp_path / "plug_in-1.0.dist-info").mkdir()
    (tmp_path / "plug_in-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: plug-in\nVersion: 1.0\n")
    (tmp_path / "plug_in-1.0.dist-info/entry_points.txt").write_text(
        "[muka_fast.methods]\ninstalled = plug_in:Installed\nbroken = no_such_module\n"
    )
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(tree(selection={"method": "installed"})))
    paths = [str(tmp_path), *sys.path]
    code = f"import sys; sys.path[:] = {paths!r}\n{READ}"
    found = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    names, strength, *error, torch_loaded = found.stdout.splitlines()
    assert {"installed", "broken", "pool", "muka"} < set(eval(names))
    assert strength == "0.7"
    assert error[0] == "the plug-in of method 'broken' cannot be loaded: No module named 'no_such_module'"
    assert torch_loaded == "False"
