"""Where selection takes text vectors from: the student, another encoder, or n-grams."""

import json

import pytest

from muka_fast.runtime.arrays import load_arrays
from muka_fast.selection.in_domain import MODEL_FILE, InDomainModel
from tests.helpers.commands import invoke

SCRATCH = "student: {config: base, tokenizer: base}\n"


@pytest.fixture
def from_scratch(project):
    recipe = project / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("student: base\n", SCRATCH).replace("epochs: 2", "epochs: 1"))
    return project


@pytest.mark.slow
def test_a_student_from_scratch_has_n_grams_for_vectors(from_scratch, monkeypatch):
    monkeypatch.chdir(from_scratch)
    assert invoke("amalgamate", "recipe.yaml").exit_code == 0
    model = load_arrays(from_scratch / "out" / MODEL_FILE, InDomainModel)
    assert model.ngrams is not None
    assert len(model.views.views) == 3  # the n-grams and the features of two teachers
    assert json.loads((from_scratch / "out" / "run.json").read_text())["encoder_fingerprint"] is None
    measured = invoke("evaluate", "out", "--data", "test.csv", "--json")  # with the pool's n-grams
    assert measured.exit_code == 0
    assert 0 <= json.loads(measured.stdout)["selection"]["routing_accuracy"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("method", ["pool", "ensemble"])
def test_another_encoder_can_be_named(method, from_scratch, monkeypatch):
    monkeypatch.chdir(from_scratch)
    done = invoke("amalgamate", "recipe.yaml", "--method", method, "--set", "selection.encoder=base")
    assert done.exit_code == 0, done.stderr
    model = load_arrays(from_scratch / "out" / MODEL_FILE, InDomainModel)
    assert model.ngrams is None
    assert model.names is not None  # class names are compared in the encoder
    assert json.loads((from_scratch / "out" / "run.json").read_text())["encoder_fingerprint"]
    assert invoke("evaluate", "out", "--data", "test.csv").exit_code == 0
    config = from_scratch / "base" / "config.json"
    config.write_text(config.read_text().replace("{", '{"note": 1,', 1))
    changed = invoke("evaluate", "out", "--data", "test.csv")
    assert "the encoder" in changed.stderr


def test_an_encoder_that_is_not_there_is_refused_before_any_work(from_scratch, monkeypatch):
    monkeypatch.chdir(from_scratch)
    refused = invoke("amalgamate", "recipe.yaml", "--set", "selection.encoder=./absent")
    assert refused.exit_code == 2
    assert "no such encoder folder" in refused.stderr
    assert not (from_scratch / "out").exists()


def test_a_damaged_encoder_is_refused_by_its_name(from_scratch, monkeypatch):
    monkeypatch.chdir(from_scratch)
    (from_scratch / "other").mkdir()
    (from_scratch / "other" / "config.json").write_text("{}")
    refused = invoke("amalgamate", "recipe.yaml", "--set", "selection.encoder=other")
    assert refused.exit_code == 2
    folder = from_scratch / "other"
    assert refused.stderr.endswith(
        f"error: the folder has no tokenizer\nwhere: tokenizer of the encoder {folder}\n"
        "fix: add the tokenizer's files to the folder\n"
    )
    assert not (from_scratch / "out").exists()


def test_the_output_may_not_hold_the_encoder(from_scratch, monkeypatch):
    monkeypatch.chdir(from_scratch)
    refused = invoke("amalgamate", "recipe.yaml", "--set", "selection.encoder=base", "--output", "base", "--overwrite")
    assert refused.exit_code == 2
    assert "contains an input of the recipe" in refused.stderr
    assert (from_scratch / "base" / "config.json").exists()
