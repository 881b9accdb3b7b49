"""Whole runs through the command line and their outputs."""

import json
import re
import sys
from unittest.mock import ANY, MagicMock

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import pipeline
from typer.testing import CliRunner

import muka_fast
from muka_fast.cli import app
from muka_fast.config.portable import portable_recipe
from muka_fast.data.label_space import match_labels
from muka_fast.distillation.trainer import LOSS_MODULE
from muka_fast.evaluation.html_report import report_page
from muka_fast.evaluation.run_record import read_run_record
from muka_fast.evaluation.tables import calibration_line, fidelity_line
from muka_fast.export import OnnxClassifier
from muka_fast.runtime.locks import exclusive
from tests.helpers.models import make_model, texts
from tests.helpers.projects import change_recipe


def test_a_run_gives_an_ordinary_checkpoint_with_its_record(project, monkeypatch):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", "--test", "test.csv"])
    assert result.exit_code == 0, result.stderr
    out = project / "out"
    assert result.stdout.splitlines()[-1] == str(out)
    assert "most trusted on the 60 unlabelled texts: " in result.stdout
    assert f"muka-fast export {out} " in result.stderr.partition("next:")[2]
    for name in ("model.safetensors", "tokenizer.json", "config.json", "recipe.yaml", "run.json", "README.md"):
        assert (out / name).exists(), name
    assert not (out / "checkpoints").exists()

    names = ["music", "weather", "Travel", "bank", "lights"]
    assert list(json.loads((out / "config.json").read_text())["id2label"].values()) == names
    classify = pipeline("text-classification", model=str(out), top_k=None)
    assert {entry["label"] for entry in classify("play some jazz")[0]} == set(names)
    loaded = muka_fast.Classifier.load(str(out), torch.device("cpu"))
    assert loaded.max_length == 48
    label, probability, *_ = loaded.classify(["play some jazz"])[0]
    best = max(classify("play some jazz")[0], key=lambda entry: entry["score"])
    assert (label, probability) == (best["label"], pytest.approx(best["score"], abs=1e-5))

    record = json.loads((out / "run.json").read_text())
    assert record["schema_version"] == 2
    assert record["texts"] == {"read": 60, "empty": 0, "duplicate": 0, "used": 60}
    assert record["test"]["metrics"]["count"] == 25
    assert sum(teacher["chosen_share"] for teacher in record["teachers"]) == pytest.approx(1)
    judged = record["test"]["selection"]
    assert judged["oracle"] >= max(judged["teachers"].values())
    assert set(record["seconds"]) == {"checking", "scoring", "selection", "training", "evaluation"}
    assert sum(record["selection"]["chosen"]) == 60
    assert record["training"]["fidelity"] == {"agreement": ANY, "texts": 59, "held_out": False}
    assert 0 <= record["selection"]["reliability"]["recall"] <= 1  # the default method estimates it
    assert (out / "report.html").read_text() == report_page(
        read_run_record(out / "run.json"), portable_recipe(yaml.safe_load((out / "recipe.yaml").read_text())).text
    )
    card = (out / "README.md").read_text()
    assert "| oracle (right teacher chosen) |" in card
    assert "passes: 3" in card
    assert "label space: 5 classes" in result.stderr
    assert "  Travel   two" in result.stderr

    again = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", "--test", "test.csv"])
    assert (again.exit_code, "finished run" in again.stderr) == (2, True)
    measured = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv", "--json"])
    figures = json.loads(measured.stdout)
    assert figures["metrics"] == record["test"]["metrics"]
    assert figures["selection"] == record["test"]["selection"]


@pytest.mark.slow
def test_a_finished_run_is_no_hindrance_to_check_and_its_scores_serve_another(project, monkeypatch):
    monkeypatch.chdir(project)
    run = ["amalgamate", "recipe.yaml", "--set", "uncertainty.passes=0", "--set", "training.max_steps=1"]
    assert CliRunner().invoke(app, run).exit_code == 0
    checked = CliRunner().invoke(app, ["check", *run[1:]])
    assert (checked.exit_code, "holds a finished run" in checked.stderr) == (0, True)
    refused = CliRunner().invoke(app, [*run, "--set", "training.max_steps=2"])
    assert refused.exit_code == 2
    again = re.search(r"'(-o ANOTHER --set scores=\S+)' uses its scores again", refused.stderr)[1]
    done = CliRunner().invoke(app, [*run, *again.replace("ANOTHER", "second").split()])
    assert (done.exit_code, "scoring with" in done.stderr) == (0, False)
    # A further teacher costs one scoring; the first run still reads the store.
    make_model(project / "three", ("news", "bank"), seed=4)
    change_recipe(project, teachers=["one", "three", "two"], labels={"same_name": "prefix"})
    done = CliRunner().invoke(app, [*run, *again.replace("ANOTHER", "third").split()])
    assert (done.exit_code, re.findall(r"scoring with (\w+)", done.stderr)) == (0, ["three"])
    asked = CliRunner().invoke(app, ["ask", "out", "-n", "4", "-o", "ask.csv"])
    assert (asked.exit_code, "scoring with" in asked.stderr) == (0, False), asked.stderr
    change_recipe(project, seed=5)
    assert "uses its scores again" not in CliRunner().invoke(app, run).stderr


@pytest.mark.slow
@pytest.mark.parametrize("method", ["vkd", "uhc", "dfa", "cfl"])
def test_methods_that_train_on_all_teachers_leave_an_ordinary_student(method, project, monkeypatch):
    monkeypatch.chdir(project)
    arguments = ["amalgamate", "recipe.yaml", "--method", method, "--set", "uncertainty.passes=0", "--json"]
    result = CliRunner().invoke(app, [*arguments, "--set", "training.max_steps=3"])
    assert result.exit_code == 0, result.stderr
    weights = load_file(project / "out" / "model.safetensors")
    assert not [name for name in weights if LOSS_MODULE in name]
    assert len(muka_fast.Classifier.load(str(project / "out"), torch.device("cpu")).classify(["play some jazz"])) == 1
    record = json.loads((project / "out" / "run.json").read_text())
    assert record["selection"]["reliability"] is None
    assert record["training"]["history"][-1]["step"] == 3
    assert record["training"]["fidelity"] is None


def check_confidence_figures(project, found):
    """Compare the calibration error and the curve of a run with those of what the student says."""
    frame = pd.read_csv(project / "test.csv")
    probabilities = muka_fast.Classifier.load(str(project / "out"), torch.device("cpu")).predict_proba(
        list(frame["text"])
    )
    names = json.loads((project / "out" / "run.json").read_text())["labels"]
    truth, _ = match_labels(names, list(frame["label"]), where="test.csv")
    confidence, right = probabilities.max(1)[truth >= 0], (probabilities.argmax(1) == truth)[truth >= 0]
    bins, error = (15 * confidence).astype(int).clip(max=14), 0.0
    for number in set(bins):
        error += (bins == number).mean() * abs(confidence[bins == number].mean() - right[bins == number].mean())
    assert found["expected_calibration_error"] == pytest.approx(error, abs=1e-6)
    assert found["risk_coverage"][-1] == [1.0, pytest.approx(1 - right.mean())]
    surest = confidence >= np.sort(confidence)[-len(confidence) // 2]
    half = next(risk for covered, risk in found["risk_coverage"] if covered >= surest.mean() - 1e-9)
    assert half == pytest.approx(1 - right[surest].mean())


@pytest.mark.slow
def test_a_student_carries_its_temperature_and_its_threshold(project, monkeypatch):
    monkeypatch.chdir(project)
    lines = [json.dumps({"text": text}) for text in texts(130)]
    (project / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    change_recipe(project, student={"model": "base", "abstain_below": 0.999})
    settings = ["--set", "training.validation_share=0.4", "--test", "test.csv", "--set", "report.quote_texts=false"]
    result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings])
    assert result.exit_code == 0, result.stderr
    record = json.loads((project / "out" / "run.json").read_text())
    assert record["selection"]["least_certain"] == []
    for name in ("run.json", "report.html", "README.md"):
        assert not any(text in (project / "out" / name).read_text(encoding="utf-8") for text in texts(130)), name
    confidence = muka_fast.Classifier.load(str(project / "out"), torch.device("cpu")).calibration
    assert confidence._asdict() == record["calibration"]
    assert confidence.temperature == 1
    assert confidence.folded_temperature != 1
    fidelity = read_run_record(project / "out" / "run.json").training.fidelity
    assert (fidelity.texts, fidelity.held_out) == (52, True)
    assert fidelity_line(fidelity) in result.stderr
    check_confidence_figures(project, record["test"])
    shown = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv", "--no-teachers"])
    assert calibration_line(read_run_record(project / "out" / "run.json").test) in shown.stdout
    label, probability = CliRunner().invoke(app, ["predict", "out", "play some jazz"]).stdout.split("\t")[:2]
    assert label == "–"
    said = CliRunner().invoke(app, ["predict", "out", "play some jazz", "--abstain-below", "0"]).stdout.split("\t")
    assert said[0] in record["labels"]
    assert said[1] == probability
    flat = CliRunner().invoke(app, ["predict", "out", "play some jazz", "--temperature", "2"]).stdout.split("\t")
    assert flat[1] != probability
    (answer,) = pipeline("text-classification", model="out", device="cpu")("play some jazz")
    assert answer["score"] == pytest.approx(float(probability), abs=1e-4)
    exported = CliRunner().invoke(app, ["export", "out", "onnx", "--atol", "1e-3"])
    assert exported.exit_code == 0, exported.stderr
    assert CliRunner().invoke(app, ["predict", "onnx", "play some jazz"]).stdout.split("\t")[0] == "–"
    assert OnnxClassifier("onnx").calibration == confidence
    served = OnnxClassifier("onnx").predict_proba(["play some jazz"])
    assert served.max() == pytest.approx(float(probability), abs=1e-3)


@pytest.mark.slow
def test_the_logs_of_the_training_stay(project, monkeypatch):
    monkeypatch.chdir(project)
    monkeypatch.setattr("transformers.integrations.integration_utils.is_tensorboard_available", lambda: True)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    monkeypatch.setitem(sys.modules, "tensorboardX", writer := MagicMock())
    settings = ["training.report_to=tensorboard", "training.max_steps=2", "uncertainty.passes=0"]
    arguments = [part for setting in settings for part in ("--set", setting)]
    result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *arguments])
    assert result.exit_code == 0, result.stderr
    writer.SummaryWriter.assert_called_once_with(log_dir=str(project / "out" / "logs"))


def test_the_python_interface_does_the_same(project):
    recipe = muka_fast.Recipe(
        teachers=[str(project / "one"), str(project / "two")],
        data=str(project / "texts.jsonl"),
        student=str(project / "base"),
        output=str(project / "out"),
        uncertainty={"passes": 2},
        training={"max_steps": 2},
    )
    result = muka_fast.amalgamate(recipe, progress=muka_fast.Progress(silent=True))
    assert result.output == project / "out"
    assert result.record.training.steps == 2
    spec = muka_fast.DataSpec(texts=str(project / "test.csv"))
    figures = muka_fast.evaluate(str(result.output), spec, teachers=False, progress=muka_fast.Progress(silent=True))
    assert figures.metrics.count == 25


@pytest.mark.slow
def test_a_run_of_schema_version_1_is_refused_and_its_student_stays_usable(project, monkeypatch):
    monkeypatch.chdir(project)
    settings = ["--set", "uncertainty.passes=0", "--set", "training.max_steps=1"]
    assert CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings]).exit_code == 0
    out = project / "out"
    record = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(record | {"schema_version": 1}))
    (out / "selection.npz").rename(out / "ownership.npz")

    refused = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv"])
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "error: the run has schema version 1; this version of muka-fast reads 2" in refused.stderr
    assert "fix: amalgamate again, or evaluate the student alone with --no-teachers" in refused.stderr
    alone = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv", "--no-teachers", "--json"])
    assert json.loads(alone.stdout)["metrics"]["count"] == 25
    assert CliRunner().invoke(app, ["predict", "out", "play some jazz"]).exit_code == 0
    refused = CliRunner().invoke(app, ["bench", "scoring", "--run", "out"])
    assert (refused.exit_code, "schema version 1" in refused.stderr) == (2, True)
    again = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings, "--overwrite"])
    assert again.exit_code == 0, again.stderr
    assert not (out / "ownership.npz").exists()
    assert (out / "selection.npz").exists()


def test_two_runs_never_write_to_one_folder(project, monkeypatch):
    """A second run is refused while another holds its output or its score store; reading goes on."""
    monkeypatch.chdir(project)
    with exclusive(project / "out"):
        for command in ("amalgamate", "score"):
            refused = CliRunner().invoke(app, [command, "recipe.yaml"])
            assert (refused.exit_code, "another run is writing to this folder: process" in refused.stderr) == (2, True)
            assert "--wait" in refused.stderr
        assert CliRunner().invoke(app, ["check", "recipe.yaml"]).exit_code == 0
    assert list((project / "out").iterdir()) == []
    with exclusive(project / "store"):
        shared = CliRunner().invoke(app, ["score", "recipe.yaml", "--set", "scores=store"])
        assert (shared.exit_code, f"where: {project / 'store'}" in shared.stderr) == (2, True)
    assert list((project / "store").iterdir()) == []
