"""Runs with a teacher that is a table of predictions, through the command line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.helpers.commands import invoke
from tests.helpers.files import write
from tests.helpers.models import texts
from tests.helpers.projects import change_recipe, parquet

CLASSES = ("Travel", "bank", "lights")


@pytest.fixture
def answered(project, monkeypatch):
    """A project whose second teacher is a language model's answers: labels with a score, to pool and test texts."""
    monkeypatch.chdir(project)
    everything = [*texts(60), *texts(25, 100)]
    rows = [
        {"text": text, "label": CLASSES[i % 3], "score": round(0.5 + i % 5 / 10, 1)}
        for i, text in enumerate(everything)
    ]
    write(project / "answers.jsonl", "\n".join(map(json.dumps, rows)) + "\n")
    change_recipe(
        project,
        teachers=["one", {"predictions": "answers.jsonl", "name": "gpt"}],
        uncertainty={"shard_size": 16, "token_budget": 128},
        training={"max_steps": 2, "batch_size": 8, "learning_rate": 1e-3},
    )
    return project


def run(*arguments):
    result = invoke(*arguments)
    assert result.exit_code == 0, result.stderr
    return result


def teacher(project, **keys):
    """Replace the keys of the section of predictions."""
    change_recipe(project, teachers=["one", {"predictions": {"files": "answers.jsonl"} | keys, "name": "gpt"}])


@pytest.mark.slow
def test_answers_of_a_language_model_are_a_teacher(answered):
    checked = run("check", "recipe.yaml")
    assert "gpt" in checked.stdout
    assert "predictions" in checked.stdout
    result = run("amalgamate", "recipe.yaml", "--test", "test.csv")
    assert "teacher gpt: 3 labels, predictions for 85 texts" in result.stderr
    out = answered / "out"
    record = json.loads((out / "run.json").read_text())
    one, gpt = record["teachers"]
    assert (one["kind"], gpt["kind"]) == ("model", "predictions")
    assert gpt["model"] == "answers.jsonl"
    assert (gpt["max_length"], gpt["tokenizer_fingerprint"], gpt["mean_passes"]) == (None, None, 0)
    assert record["labels"] == ["music", "weather", "bank", "lights", "Travel"]
    assert 0 < gpt["chosen_share"] < 1
    judged = record["test"]["selection"]
    assert judged["answered"] == {}
    truth = pd.read_csv(answered / "test.csv")["label"]
    said = [CLASSES[i % 3] for i in range(60, 85)]
    assert judged["teachers"]["gpt"] == pytest.approx(
        np.mean([a.casefold() == b for a, b in zip(said, truth, strict=True)])
    )
    table = pd.read_parquet(out / "scores" / "teacher-1" / "shard-00000.parquet")
    assert "features" not in table
    assert set(table["passes"]) == {0}
    manifest = json.loads((out / "scores" / "manifest.json").read_text())
    assert manifest["teachers"][1] == {"predictions": gpt["fingerprint"], "labels": ["bank", "lights", "Travel"]}
    for page in ("README.md", "report.html"):
        assert "predictions: answers.jsonl" in (out / page).read_text().replace("\\", "")

    measured = json.loads(run("evaluate", "out", "-d", "test.csv", "--json").stdout)
    assert measured["selection"] == judged
    # Its scores serve another method; a changed answer is another teacher.
    again = ["amalgamate", "recipe.yaml", "-o", "second", "--set", "scores=out/scores"]
    run(*again, "--method", "muka", "--trust", "single-pass-entropy")
    write(answered / "answers.jsonl", (answered / "answers.jsonl").read_text().replace("0.9", "0.8"))
    other = invoke(*again, "--overwrite")
    assert (other.exit_code, re.findall(r"scoring with (\w+)", other.stderr)) == (0, ["gpt"])
    student = run("evaluate", "out", "-d", "test.csv")
    assert "teacher gpt has changed since the run" in student.stderr
    (answered / "answers.jsonl").unlink()
    assert "measuring the student alone: no such file" in run("evaluate", "out", "-d", "test.csv").stderr


def test_missing_answers_are_counted_and_the_teacher_abstains_where_they_are_allowed(answered):
    rows = (answered / "answers.jsonl").read_text().splitlines()
    write(answered / "answers.jsonl", "\n".join(rows[3:]) + "\n")  # the first three texts of the pool
    for command in ("check", "amalgamate"):
        refused = invoke(command, "recipe.yaml")
        assert refused.exit_code == 2
        assert f"3 of 60 texts have no prediction, for example '{texts(1)[0]}'" in refused.stderr
        assert "predictions.missing: 0.05" in refused.stderr
    assert not (answered / "out").exists()
    teacher(answered, missing=0.05)
    uniform = invoke("check", "recipe.yaml", "--method", "uhc")
    assert (uniform.exit_code, "'uhc' needs a prediction for every text" in uniform.stderr) == (2, True)
    result = run("amalgamate", "recipe.yaml", "--test", "test.csv")
    assert "teacher gpt: 3 of 60 texts have no prediction; it abstains there" in result.stderr
    record = json.loads((answered / "out" / "run.json").read_text())
    assert sum(record["selection"]["chosen"]) == 60
    assert record["test"]["selection"]["answered"] == {}


def test_a_teacher_without_answers_to_the_test_texts_is_not_measured(answered):
    rows = (answered / "answers.jsonl").read_text().splitlines()
    write(answered / "answers.jsonl", "\n".join(rows[:60]) + "\n")
    result = run("amalgamate", "recipe.yaml", "--test", "test.csv")
    assert "teacher gpt: no prediction for 25 of 25 labelled texts" in result.stderr
    assert "not measured: it has no prediction for these texts" in " ".join(result.stdout.split())
    judged = json.loads((answered / "out" / "run.json").read_text())["test"]["selection"]
    assert (judged["teachers"]["gpt"], judged["own_classes"]["gpt"], judged["answered"]) == (None, None, {"gpt": 0})
    assert judged["measured"] == 10  # those of the classes that the other teacher knows
    assert judged["selection"] == pytest.approx(judged["own_classes"]["one"])
    write(answered / "answers.jsonl", "\n".join([*rows[:60], *rows[60:70]]) + "\n")
    change_recipe(answered, output="partly")
    run("amalgamate", "recipe.yaml", "--test", "test.csv")
    judged = json.loads((answered / "partly" / "run.json").read_text())["test"]["selection"]
    assert judged["answered"] == {"gpt": 10}
    truth = pd.read_csv(answered / "test.csv")["label"][:10]
    said = [CLASSES[i % 3].casefold() for i in range(60, 70)]
    assert judged["teachers"]["gpt"] == pytest.approx(np.mean([a == b for a, b in zip(said, truth, strict=True)]))


def test_ids_join_predictions_whose_texts_are_elsewhere(answered):
    random = np.random.default_rng(0)
    logits = pd.DataFrame(random.normal(size=(60, 3)), columns=list(CLASSES))
    logits.insert(0, "row", [f"r{i}" for i in range(60)])
    logits.sample(frac=1, random_state=1).to_parquet(answered / "logits.parquet")
    pd.DataFrame({"text": texts(60), "row": logits["row"]}).to_csv(answered / "texts.csv", index=False)
    predictions = {"files": "logits.parquet", "id_column": "row", "logits": True}
    change_recipe(answered, teachers=["one", {"predictions": predictions}], data="texts.csv")
    refused = invoke("check", "recipe.yaml")
    assert (refused.exit_code, "joined by an id, and the texts have none" in refused.stderr) == (2, True)
    assert "data.id_column" in refused.stderr
    change_recipe(answered, data={"texts": "texts.csv", "id_column": "row"})
    run("score", "recipe.yaml")
    stored = pd.concat(pd.read_parquet(path) for path in sorted((answered / "out/scores/teacher-1").glob("*.parquet")))
    found = np.stack(stored["logits"].to_numpy())
    expected = logits[list(CLASSES)].to_numpy(np.float32)
    assert sorted(map(tuple, found.tolist())) == sorted(map(tuple, expected.tolist()))
    before = parquet(answered / "out" / "scores")
    run("score", "recipe.yaml")
    assert parquet(answered / "out" / "scores") == before
    # The same texts with other ids get other predictions: the store belongs to the pairs.
    pd.DataFrame({"text": texts(60), "row": logits["row"].to_numpy()[::-1]}).to_csv(answered / "texts.csv", index=False)
    assert "teachers.1.keys" in invoke("score", "recipe.yaml").stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "ensemble"], "method 'ensemble' needs models, to ask them for new texts; teacher gpt"),
        (["--method", "muka"], "trust 'predictive-entropy' needs dropout passes; teacher gpt"),
        (["--method", "muka", "--trust", "relative-mahalanobis"], "needs the teachers' features"),
        (["--method", "muka", "--trust", "energy"], "compares the teachers' logits, and these are probabilities"),
        (["--method", "vkd"], "compares the teachers' logits"),
        (["--method", "cfl"], "needs the teachers' features"),
    ],
)
def test_methods_that_need_more_of_a_teacher_refuse_it(answered, arguments, message):
    result = invoke("check", "recipe.yaml", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "fix: " in result.stderr


def test_keys_of_models_and_of_predictions_do_not_mix(answered):
    for section, message in (
        ({"predictions": "answers.jsonl", "model": "one"}, "give either 'model' or 'predictions'"),
        ({"predictions": "answers.jsonl", "max_length": 32}, "'max_length' has no effect on predictions"),
        ({"predictions": {"files": "answers.jsonl", "label_column": "label", "logits": True}}, "give either label_"),
        ({"predictions": {"files": "answers.jsonl", "lable_column": "label"}}, "did you mean 'label_column'?"),
    ):
        change_recipe(answered, teachers=["one", section])
        result = invoke("check", "recipe.yaml")
        assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
    (answered / "same.jsonl").write_text((answered / "answers.jsonl").read_text())
    change_recipe(answered, teachers=[{"predictions": "answers.jsonl"}, {"predictions": "same.jsonl"}])
    assert "the same teacher twice: answers and same have equal predictions" in invoke("check", "recipe.yaml").stderr


def test_all_teachers_may_be_predictions(answered):
    pd.DataFrame({"text": texts(60), "music": 0.25, "weather": np.linspace(0.6, 0.75, 60)}).assign(
        news=lambda frame: 0.75 - frame["weather"]
    ).to_csv(answered / "rules.csv", index=False)
    change_recipe(answered, teachers=[{"predictions": "answers.jsonl"}, {"predictions": "rules.csv"}])
    run("check", "recipe.yaml")
    run("amalgamate", "recipe.yaml")
    names = [one["name"] for one in json.loads((answered / "out" / "run.json").read_text())["teachers"]]
    assert names == ["answers", "rules"]
    resolved = yaml.safe_load((answered / "out" / "recipe.yaml").read_text())
    assert resolved["teachers"][1]["predictions"]["files"] == [str(answered / "rules.csv")]
