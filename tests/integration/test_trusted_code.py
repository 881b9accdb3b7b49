"""Models whose code lies beside their weights, used because the recipe or the command says that it is trusted."""

import json

import numpy as np
import pytest

from tests.helpers.commands import invoke
from tests.helpers.models import make_model
from tests.helpers.projects import change_recipe

CONFIGURATION = """
from transformers import BertConfig


class OwnConfig(BertConfig):
    model_type = "own"
"""
MODEL = """
from transformers import BertForSequenceClassification, BertModel

from .configuration_own import OwnConfig
from .scale_own import SCALE


class OwnModel(BertModel):
    config_class = OwnConfig


class OwnForSequenceClassification(BertForSequenceClassification):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        out = super().forward(*args, **kwargs)
        out.logits = SCALE * out.logits
        return out
"""
AUTO_MAP = {
    "AutoConfig": "configuration_own.OwnConfig",
    "AutoModel": "modeling_own.OwnModel",
    "AutoModelForSequenceClassification": "modeling_own.OwnForSequenceClassification",
}
FILES = {"configuration_own.py": CONFIGURATION, "modeling_own.py": MODEL, "scale_own.py": "SCALE = 2.0\n"}
TRUST = "--trust-remote-code"


def bring_code(folder):
    """Give a saved classifier an architecture of its own, in three files that import each other."""
    path = folder / "config.json"
    own = {"model_type": "own", "architectures": ["OwnForSequenceClassification"], "auto_map": AUTO_MAP}
    path.write_text(json.dumps(json.loads(path.read_text()) | own))
    for name, content in FILES.items():
        (folder / name).write_text(content)


def succeed(*arguments):
    done = invoke(*arguments)
    assert done.exit_code == 0, done.stderr
    return done


@pytest.fixture
def trusting(project, monkeypatch):
    """A project whose student, one teacher and encoder bring code."""
    monkeypatch.chdir(project)
    make_model(project / "encoder", ("x", "y"), seed=4)
    for name in ("one", "base", "encoder"):
        bring_code(project / name)
    change_recipe(
        project,
        teachers=[{"model": "one", "trust_remote_code": True}, "two"],
        student={"model": "base", "trust_remote_code": True},
        selection={"encoder": {"model": "encoder", "trust_remote_code": True}},
        uncertainty={"passes": 0},
        training={"max_steps": 2, "batch_size": 8, "evaluations": 1},
    )
    return project


@pytest.mark.slow
def test_a_run_of_models_that_bring_code_and_every_use_of_its_student(trusting):
    succeed("check", "recipe.yaml")
    succeed("amalgamate", "recipe.yaml")
    for name, content in FILES.items():
        assert (trusting / "out" / name).read_text() == content
    rows = succeed("predict", "out", "play some jazz", "book a hotel", "--json", TRUST).stdout
    evaluated = json.loads(succeed("evaluate", "out", "-d", "test.csv", "--json", TRUST).stdout)
    assert evaluated["metrics"]["count"] == 25
    assert evaluated["selection"], "the teachers were not asked"
    succeed("export", "out", "served", TRUST)
    # The graph has what the code computes, so an export is used without it.
    exported = succeed("predict", "served", "play some jazz", "book a hotel", "--json").stdout
    first, second = ([row["probability"] for row in json.loads(out)["predictions"]] for out in (rows, exported))
    np.testing.assert_allclose(first, second, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["teachers", "student", "selection"])
def test_each_model_needs_its_own_trust(trusting, part):
    changed = {
        "teachers": ["one", "two"],
        "student": "base",
        "selection": {"encoder": {"model": "encoder"}},
    }
    change_recipe(trusting, **{part: changed[part]})
    refused = invoke("check", "recipe.yaml")
    assert refused.exit_code == 2
    assert "trust_remote_code: true" in refused.stderr
    assert not (trusting / "out").exists()


@pytest.mark.parametrize(
    "command", [["predict", "one", "hi"], ["evaluate", "one", "-d", "own.csv"], ["export", "one", "x"]]
)
def test_a_command_without_trust_names_its_option(trusting, command):
    (trusting / "own.csv").write_text("text,label\nplay some jazz,music\n")
    refused = invoke(*command)
    assert (refused.exit_code, TRUST in refused.stderr) == (2, True), refused.stderr
    assert not (trusting / "x").exists()
