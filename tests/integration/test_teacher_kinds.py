"""Teachers that are no checkpoints, from the recipe to the student."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import skops.io
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from muka_fast.data.corpus import text_id
from muka_fast.export import OnnxClassifier
from tests.helpers.adapters import make_adapter
from tests.helpers.commands import invoke
from tests.helpers.models import texts
from tests.helpers.projects import change_recipe
from tests.helpers.sentence_encoders import WIDTH, make_encoder


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


def stored_logits(folder, teacher, features=False):
    """Return the stored logits of a teacher by text id."""
    tables = [pd.read_parquet(path) for path in sorted((folder / f"teacher-{teacher}").glob("*.parquet"))]
    table = pd.concat(tables)
    assert set(table["passes"]) == {0}
    assert ("features" in table) == features
    return dict(zip(table["text_id"], np.stack(table["logits"].to_numpy()), strict=True))


@pytest.mark.slow
def test_a_scikit_learn_pipeline_is_a_teacher(here):
    pool = texts(60)
    fitted = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(pool, ["Bank", "Travel"] * 30)
    skops.io.dump(fitted, here / "rules.skops")
    change_recipe(here, teachers=["one", "rules.skops"])
    checked = run("check", "recipe.yaml")
    assert "sklearn" in checked.stdout
    result = run("amalgamate", "recipe.yaml", "--test", "test.csv")
    assert "teacher rules: 2 labels, TfidfVectorizer → LogisticRegression" in result.stderr
    record = json.loads((here / "out" / "run.json").read_text())
    rules = record["teachers"][1]
    assert (rules["name"], rules["kind"], rules["max_length"], rules["mean_passes"]) == ("rules", "sklearn", None, 0)
    assert record["labels"] == ["music", "weather", "Bank", "Travel"]
    found = stored_logits(here / "out" / "scores", 1)
    expected = np.log(fitted.predict_proba(pool))
    for text, row in zip(pool, expected, strict=True):
        np.testing.assert_allclose(found[text_id(text)], row, rtol=1e-5)
    refused = invoke("check", "recipe.yaml", "--method", "muka")
    assert (refused.exit_code, "teacher rules is a scikit-learn pipeline" in refused.stderr) == (2, True)
    fitted.steps[1][1].intercept_ += 0.1
    skops.io.dump(fitted, here / "rules.skops")
    other = invoke("amalgamate", "recipe.yaml", "-o", "second", "--set", "scores=out/scores")
    assert re.findall(r"scoring with (\w+)", other.stderr) == ["rules"]


@pytest.mark.slow
@pytest.mark.xdist_group("sentence-transformers")
def test_a_setfit_model_is_a_teacher(here):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from setfit import SetFitModel

    body = Transformer(str(make_encoder(here / "body")), max_seq_length=40)
    model = SetFitModel(
        SentenceTransformer(modules=[body, Pooling(WIDTH, "cls"), Normalize()], device="cpu"), LogisticRegression(C=100)
    )
    model.fit(texts(30), ["Bank", "Travel"] * 15, num_epochs=1)
    model.save_pretrained(here / "answers")
    change_recipe(here, teachers=["one", "answers"])
    refused = invoke("check", "recipe.yaml")
    assert (refused.exit_code, "model_head.pkl is a pickle" in refused.stderr) == (2, True)
    exec("\n".join(line.strip() for line in refused.stderr.splitlines()[-2:]))  # the two lines that convert it
    assert "setfit" in run("check", "recipe.yaml").stdout
    result = run("amalgamate", "recipe.yaml", "--test", "test.csv")
    assert "teacher answers: 2 labels, sentence encoder → LogisticRegression, 40 tokens" in result.stderr
    record = json.loads((here / "out" / "run.json").read_text())
    answers = record["teachers"][1]
    assert (answers["kind"], answers["max_length"], answers["mean_passes"]) == ("setfit", 40, 0)
    assert record["labels"] == ["music", "weather", "Bank", "Travel"]
    found = stored_logits(here / "out" / "scores", 1, features=True)
    expected = SetFitModel.from_pretrained(here / "answers", device="cpu").predict_proba(texts(60), as_numpy=True)
    assert expected.std(0).min() > 0.01
    for text, row in zip(texts(60), expected, strict=True):
        np.testing.assert_allclose(np.exp(found[text_id(text)]), row, atol=1e-5)
    run("check", "recipe.yaml", "--method", "muka", "--trust", "relative-mahalanobis", "-o", "second")
    for method, message in (("ensemble", "needs models"), ("cfl", "compares the teachers' logits")):
        unfit = invoke("check", "recipe.yaml", "--method", method, "-o", "second")
        assert (unfit.exit_code, message in unfit.stderr) == (2, True)
        assert "teacher answers is a SetFit model" in unfit.stderr
    skops.io.dump(
        LogisticRegression(C=9).fit(model.encode(texts(30)), ["Bank", "Travel"] * 15), "answers/model_head.skops"
    )
    other = invoke("amalgamate", "recipe.yaml", "-o", "second", "--set", "scores=out/scores")
    assert re.findall(r"scoring with (\w+)", other.stderr) == ["answers"]


@pytest.mark.slow
def test_an_onnx_graph_without_weights_is_a_teacher(here, exported):
    for name in ("model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json"):
        (here / "graph").mkdir(exist_ok=True)
        shutil.copy(exported / name, here / "graph" / name)
    change_recipe(here, teachers=["graph", "two"])
    assert "onnx" in run("check", "recipe.yaml").stdout
    run("amalgamate", "recipe.yaml", "--test", "test.csv")
    record = json.loads((here / "out" / "run.json").read_text())
    graph = record["teachers"][0]
    assert (graph["kind"], graph["max_length"], graph["mean_passes"]) == ("onnx", 48, 0)
    assert record["labels"][:2] == ["music", "weather"]
    found = stored_logits(here / "out" / "scores", 0)
    expected = OnnxClassifier(exported).logits(texts(60))
    for text, row in zip(texts(60), expected, strict=True):
        np.testing.assert_allclose(found[text_id(text)], row, atol=1e-4)
    measured = json.loads(run("evaluate", "out", "-d", "test.csv", "--json").stdout)
    assert measured["selection"] == record["test"]["selection"]
    for arguments, message in (
        (
            ["--method", "ensemble"],
            "needs models, to ask them for new texts; teacher graph is an ONNX graph",
        ),
        (["--method", "muka"], "needs dropout passes; teacher graph is an ONNX graph"),
    ):
        refused = invoke("check", "recipe.yaml", *arguments)
        assert (refused.exit_code, message in refused.stderr) == (2, True), refused.stderr
