import json

import numpy as np
import pytest
import torch
from conftest import texts
from typer.testing import CliRunner

import muka_fast
from muka_fast.cli import app
from muka_fast.ensemble import Ensemble, is_ensemble
from muka_fast.errors import ModelError
from muka_fast.opening import open_classifier
from muka_fast.recipe import SelectionSpec
from muka_fast.selection import judge, targets


@pytest.fixture
def ensemble(project, monkeypatch):
    monkeypatch.chdir(project)
    arguments = ["amalgamate", "recipe.yaml", "--method", "ensemble", "--set", "uncertainty.passes=0"]
    result = CliRunner().invoke(app, [*arguments, "--test", "test.csv"])
    assert result.exit_code == 0, result.stderr
    return project / "out"


def test_teachers_answer_together_without_a_student(ensemble):
    assert not list(ensemble.glob("*.safetensors"))
    assert is_ensemble(ensemble)
    record = json.loads((ensemble / "run.json").read_text())
    assert record["training"] is None
    assert record["test"]["classifier"] == "ensemble"
    # What it says of the test texts is what its selection says of them.
    assert record["test"]["student"]["accuracy"] == record["test"]["selection"]["selection"]
    assert "muka-fast predict" in (ensemble / "README.md").read_text()
    assert "ensemble accuracy" in (ensemble / "report.html").read_text()
    measured = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv", "--no-teachers", "--json"])
    assert json.loads(measured.stdout)["student"] == record["test"]["student"]


def test_its_answers_are_the_mixture_by_what_the_pool_taught(ensemble):
    found = open_classifier(str(ensemble), "cpu")
    assert isinstance(found, Ensemble)
    assert found.names == ("music", "weather", "Travel", "bank", "lights")
    some = texts(7, 200)
    probabilities = found.probabilities(some)
    recipe = muka_fast.read_recipe(ensemble / "recipe.yaml")
    pool = found._pool(muka_fast.corpus.build_corpus(some), lambda _: None)
    by_hand = targets(pool, judge(pool, SelectionSpec(method="pool"), found.model))
    assert probabilities == pytest.approx(by_hand, abs=1e-6)
    assert recipe.selection.method == "ensemble"
    assert probabilities.sum(1) == pytest.approx(np.ones(7), abs=1e-5)
    # One text by itself is judged as in company: the pool has taught all there is to know.
    assert found.probabilities(some[3:4])[0] == pytest.approx(probabilities[3], abs=1e-4)
    assert found.probabilities([]).shape == (0, 5)
    told: list[float] = []
    found.probabilities(some, advance=told.append)
    assert sum(told) == pytest.approx(7)
    label, probability, *_ = found.classify(some)[0]
    line = CliRunner().invoke(app, ["predict", "out", some[0]]).stdout.split("\t")
    assert line[:2] == [label, f"{probability:.4f}"]


def test_a_teacher_that_changed_is_refused(ensemble, model_folder):
    model_folder("two", ("Travel", "bank", "lights"), family="distilbert", seed=9)
    with pytest.raises(ModelError, match="teacher two is not the one"):
        Ensemble.load(ensemble, torch.device("cpu"))
    result = CliRunner().invoke(app, ["predict", "out", "play some jazz"])
    assert (result.exit_code, "amalgamate again" in result.stderr) == (2, True)


def test_it_cannot_be_exported(ensemble):
    result = CliRunner().invoke(app, ["export", "out", "onnx"])
    assert (result.exit_code, "an ensemble is its teachers" in result.stderr) == (2, True)


def test_an_ordinary_output_is_none(project):
    assert not is_ensemble(project / "base")
    assert not is_ensemble("owner/name")
