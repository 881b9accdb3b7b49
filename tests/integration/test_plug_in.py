"""A method that is not in the package, known by one registration: through recipe, command line, training and report."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
import yaml
from pydantic import Field
from typer.testing import CliRunner

import muka_fast
from muka_fast.cli import app
from muka_fast.config.methods import register_method, unregister_method
from muka_fast.distillation.method import Method
from muka_fast.distillation.targets import mixture_targets
from muka_fast.selection.base import Selection
from tests.helpers.pools import POOL, method


class Favourite(Method):
    """All texts to one teacher."""

    method: Literal["favourite"] = "favourite"
    teacher: int = Field(1, ge=0)

    @property
    def least_passes(self) -> int:
        return 2

    def select(self, pool, model=None):
        weights = np.eye(len(pool.signals))[np.full(len(pool), self.teacher)]
        return Selection(weights, weights, np.ones(len(pool)))

    def build_targets(self, pool, selection, student_width):
        return mixture_targets(pool, selection)


@pytest.fixture
def run(project, monkeypatch):
    monkeypatch.chdir(project)
    tree = yaml.safe_load((project / "recipe.yaml").read_text())
    tree["training"] |= {"max_steps": 2}
    (project / "recipe.yaml").write_text(yaml.safe_dump(tree))
    register_method(Favourite)
    yield lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])
    unregister_method("favourite")


@pytest.mark.slow
def test_a_registered_method_runs_through_recipe_command_line_training_and_report(run, project):
    schema = json.loads(run("init", "--schema").stdout)
    assert "teacher" in schema["$defs"]["Favourite"]["properties"]
    for arguments, teacher in (
        (["recipe.yaml", "--method", "favourite"], 1),
        (["recipe.yaml", "--set", "selection.method=favourite", "--set", "selection.teacher=0"], 0),
    ):
        out = f"out-{teacher}"
        done = run("amalgamate", *arguments, "-o", out, "--test", "test.csv", "--json")
        assert done.exit_code == 0, done.stderr
        shares = [one["chosen_share"] for one in json.loads(done.stdout)["teachers"]]
        assert shares == [1 - teacher, teacher]
        assert "favourite" in (project / out / "report.html").read_text()
        assert yaml.safe_load((project / out / "recipe.yaml").read_text())["selection"] == {
            "method": "favourite",
            "teacher": teacher,
        }
        measured = run("evaluate", out, "-d", "test.csv", "--json")
        assert measured.exit_code == 0, measured.stderr
        predicted = {
            one.label
            for one in muka_fast.Classifier.load(str(project / out), torch.device("cpu")).classify(["play some jazz"])
        }
        assert predicted <= {"music", "weather", "Travel", "bank", "lights"}


def test_a_registered_method_is_checked_like_the_built_in_ones(run, project):
    teachers = ["-t", "one", "-t", "two", "-s", "base", "-d", "texts.jsonl", "-o", "out"]
    checked = run("check", *teachers, "--method", "favourite", "--set", "uncertainty.passes=2")
    assert checked.exit_code == 0, checked.stderr
    assert "2 passes" in checked.stdout
    for arguments, message in (
        (["--set", "selection.teacher=1"], "did you mean method: favourite?"),
        (["--method", "favourit"], "did you mean 'favourite'?"),
        (["--method", "favourite", "--trust", "energy"], "did you mean method: muka?"),
        (["--method", "favourite", "--set", "selection.techer=1"], "did you mean 'teacher'?"),
        (["--method", "favourite", "--set", "selection.teacher=-1"], "selection.teacher"),
        (["--method", "favourite", "--passes", "1"], "method 'favourite' needs 2 or more Monte-Carlo passes"),
        (["--method", "favourite", "--adaptive"], "method 'favourite' cannot stop passes early"),
    ):
        refused = run("check", *teachers, *arguments)
        assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
    recipe = yaml.safe_load((project / "recipe.yaml").read_text()) | {"selection": {"method": "favourite"}}
    (project / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    scored = run("score", "recipe.yaml")
    assert scored.exit_code == 0, scored.stderr


def test_the_guide_adds_a_method():
    guide = (Path(__file__).parents[2] / "docs" / "how-to.md").read_text(encoding="utf-8")
    example = re.search(r"## Add a method.*?```python\n(.*?)```", guide, re.DOTALL)[1]
    exec(compile(example, "how-to.md", "exec", dont_inherit=True), {"__name__": "guide"})
    try:
        fixed = method("fixed", teacher=2)
        selection = fixed.select(POOL)
        assert selection.chosen.tolist() == [2] * len(POOL)
        assert fixed.build_targets(POOL, selection, 4).targets.shape == (len(POOL), len(POOL.space))
    finally:
        unregister_method("fixed")
