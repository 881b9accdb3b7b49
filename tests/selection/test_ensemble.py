import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import muka_fast
from muka_fast.cli import app
from muka_fast.data.corpus import build_corpus
from muka_fast.errors import CorpusError, ModelError
from muka_fast.pipeline.load import load_classifier, load_ensemble
from muka_fast.pipeline.run_artifacts import is_ensemble, method_of
from muka_fast.selection.base import targets
from muka_fast.selection.ensemble import Ensemble
from muka_fast.selection.in_domain import (
    MODEL_FILE,
)
from muka_fast.selection.in_domain_rule import in_domain_rule
from tests.helpers.models import make_tokenizer, texts


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
    assert "muka-fast predict" in (ensemble / "README.md").read_text()
    assert "ensemble accuracy" in (ensemble / "report.html").read_text()
    # What it says to predict is what its selection said of the same texts.
    for more in (["--no-teachers"], []):
        measured = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv", "--json", *more])
        figures = json.loads(measured.stdout)
        assert figures["metrics"] == record["test"]["metrics"]
        assert figures["selection"] == (None if more else record["test"]["selection"])


@pytest.mark.slow
def test_its_answers_are_the_mixture_by_what_the_pool_taught(ensemble):
    found = load_classifier(str(ensemble), "cpu")
    assert isinstance(found, Ensemble)
    assert found.labels == ("music", "weather", "Travel", "bank", "lights")
    some = texts(7, 200)
    probabilities = found.predict_proba(some)
    recipe = muka_fast.read_recipe(ensemble / "recipe.yaml")
    pool = found._pool(build_corpus(some), lambda _: None)
    by_hand = targets(pool, in_domain_rule(pool, found.model))
    assert probabilities == pytest.approx(by_hand, abs=1e-6)
    assert recipe.selection.method == "ensemble"
    assert probabilities.sum(1) == pytest.approx(np.ones(7), abs=1e-5)
    # One text by itself is judged as in company: the pool has taught all there is to know.
    assert found.predict_proba(some[3:4])[0] == pytest.approx(probabilities[3], abs=5e-3)  # fp16 vectors
    assert found.predict_proba([]).shape == (0, 5)
    counts: list[float] = []
    found.predict_proba(some, progress=counts.append)
    assert sum(counts) == pytest.approx(7)
    label, probability, *_ = found.classify(some)[0]
    line = CliRunner().invoke(app, ["predict", "out", some[0]]).stdout.split("\t")
    assert line[0] == label
    assert float(line[1]) == pytest.approx(probability, abs=1e-3)


def test_predict_leaves_out_the_energy_that_an_ensemble_lacks(ensemble):
    assert [one.energy for one in load_ensemble(ensemble, torch.device("cpu")).classify(["play some jazz"])] == [None]
    _, probability, entropy, energy, _ = (
        CliRunner().invoke(app, ["predict", "out", "play some jazz", "--uncertainty"]).stdout.split("\t")
    )
    assert (float(probability) > 0, float(entropy) > 0, energy) == (True, True, "–")
    (one,) = json.loads(CliRunner().invoke(app, ["predict", "out", "play some jazz", "--json"]).stdout)["predictions"]
    assert (one["energy"], one["entropy"]) == (None, pytest.approx(float(entropy), abs=1e-3))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["teacher", "tokenizer", "encoder", "record", "model"])
def test_what_changed_is_refused(what, ensemble, project, model_folder):
    if what == "teacher":
        model_folder("two", ("Travel", "bank", "lights"), family="distilbert", seed=9)
    elif what == "tokenizer":
        make_tokenizer(project / "two", seed=1)
    elif what == "encoder":
        model_folder("base", ("x", "y"), seed=9)
    elif what == "record":
        (ensemble / "run.json").write_text("{")
    else:
        (ensemble / MODEL_FILE).unlink()
    with pytest.raises(ModelError) as refused:
        load_ensemble(ensemble, torch.device("cpu"))
    named = {
        "teacher": "teacher two",
        "tokenizer": "teacher two",
        "encoder": "base",
        "record": "record",
        "model": "selection.npz",
    }
    assert named[what] in str(refused.value)
    result = CliRunner().invoke(app, ["predict", "out", "play some jazz"])
    assert (result.exit_code, "amalgamate again" in result.stderr) == (2, True)


def test_a_student_whose_teacher_changed_is_judged_by_a_pool_of_its_own(project, monkeypatch, model_folder):
    monkeypatch.chdir(project)
    settings = ["--set", "uncertainty.passes=0", "--set", "training.max_steps=1"]
    assert CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings]).exit_code == 0
    before = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv"])
    assert "changed since" not in before.stderr
    model_folder("two", ("Travel", "bank", "lights"), family="distilbert", seed=9)
    after = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv"])
    assert after.exit_code == 0, after.stderr
    assert "teacher two has changed since" in after.stderr


def test_pairs_are_not_read_as_single_texts(ensemble):
    found = load_ensemble(ensemble, torch.device("cpu"))
    with pytest.raises(CorpusError, match="read single texts"):
        found.predict_proba(["a"], ["b"])
    data = found.recipe.data.model_copy(update={"pair_column": "second"})
    with pytest.raises(CorpusError, match="read pairs"):
        replace(found, recipe=found.recipe.model_copy(update={"data": data})).predict_proba(["a"])


def test_a_student_becomes_an_ensemble_and_leaves_nothing_behind(project, monkeypatch):
    monkeypatch.chdir(project)
    settings = ["--set", "uncertainty.passes=0", "--set", "training.max_steps=1"]
    assert CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings]).exit_code == 0
    assert method_of(project / "out") == "pool"
    again = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings, "--method", "ensemble", "--overwrite"])
    assert again.exit_code == 0, again.stderr
    assert not (project / "out" / "model.safetensors").exists()
    assert not (project / "out" / "config.json").exists()
    assert is_ensemble(project / "out")


def test_it_cannot_be_exported(ensemble):
    result = CliRunner().invoke(app, ["export", "out", "onnx"])
    assert (result.exit_code, "an ensemble is its teachers" in result.stderr) == (2, True)


def test_what_is_no_finished_run_is_no_ensemble(project):
    assert not is_ensemble(project / "base")
    assert not is_ensemble("owner/name")
    (project / "run.json").write_text("{}")
    for damaged in ("selection: {method: pool}", "teachers: [", "a", "selection: 3", "other: 1"):
        (project / "recipe.yaml").write_text(damaged)
        assert not is_ensemble(project), damaged
