"""Teachers that are no checkpoints, from the recipe to the student."""

import json

import pytest

from tests.helpers.adapters import make_adapter
from tests.helpers.commands import invoke
from tests.helpers.projects import change_recipe


@pytest.fixture
def here(project, monkeypatch):
    """The project as the current folder, with a short training."""
    monkeypatch.chdir(project)
    change_recipe(project, training={"max_steps": 2, "batch_size": 8})
    return project


def run(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def test_an_adapter_is_a_teacher_like_any_other(here):
    make_adapter(here / "adapter", here / "base", classes=3)
    settings = json.loads((here / "adapter" / "adapter_config.json").read_text())
    settings["base_model_name_or_path"] = "gone/away/model"
    (here / "adapter" / "adapter_config.json").write_text(json.dumps(settings))
    change_recipe(here, teachers=["one", {"model": "adapter", "labels": ["Travel", "bank", "lights"]}])
    missing = invoke("check", "recipe.yaml")
    assert missing.exit_code == 2
    assert "base model gone/away/model" in missing.stderr
    change_recipe(here, teachers=["one", {"model": "adapter", "labels": ["Travel", "bank", "lights"], "base": "base"}])
    run("amalgamate", "recipe.yaml", "--method", "muka", "--test", "test.csv")
    record = json.loads((here / "out" / "run.json").read_text())
    adapter = record["teachers"][1]
    assert (adapter["kind"], adapter["num_labels"], adapter["mean_passes"] > 0) == ("model", 3, True)
    assert record["labels"] == ["music", "weather", "Travel", "bank", "lights"]
    # The scores belong to adapter and base model: another adapter is another teacher.
    make_adapter(here / "adapter", here / "base", classes=3, seed=1)
    other = invoke("amalgamate", "recipe.yaml", "--method", "muka", "-o", "second", "--set", "scores=out/scores")
    assert other.exit_code == 2
    assert "the stored scores differ from this run in 'teachers.1.weights'" in other.stderr
