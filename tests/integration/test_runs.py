"""Whole runs through the command line: outputs, resuming after a kill, interruption, several processes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import ANY, MagicMock

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import pipeline
from typer.testing import CliRunner

import muka_fast
from muka_fast.cli import app
from muka_fast.data.label_space import match_labels
from muka_fast.distillation.trainer import LOSS_MODULE
from muka_fast.evaluation.html_report import report_page
from muka_fast.evaluation.run_record import read_run_record
from muka_fast.evaluation.tables import calibration_line, fidelity_line
from muka_fast.export import OnnxClassifier
from tests.helpers.models import make_model, texts

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def run_here(*arguments) -> None:
    """Run a command in this process, which saves the start of another one."""
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == 0, result.stderr


@pytest.fixture
def one_thread():
    """Compute as the processes of ``ENVIRONMENT`` do: sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parquet(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}


def change(project: Path, **sections) -> None:
    recipe = yaml.safe_load((project / "recipe.yaml").read_text())
    (project / "recipe.yaml").write_text(yaml.safe_dump(recipe | sections), encoding="utf-8")


def test_a_run_gives_an_ordinary_checkpoint_with_its_record(project, monkeypatch):
    monkeypatch.chdir(project)
    result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", "--test", "test.csv"])
    assert result.exit_code == 0, result.stderr
    out = project / "out"
    assert result.stdout.splitlines()[-1] == str(out)
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
        read_run_record(out / "run.json"), (out / "recipe.yaml").read_text()
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


def test_a_student_carries_its_temperature_and_its_threshold(project, monkeypatch):
    monkeypatch.chdir(project)
    lines = [json.dumps({"text": text}) for text in texts(130)]
    (project / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    change(project, student={"model": "base", "abstain_below": 0.999})
    settings = ["--set", "training.validation_share=0.4", "--test", "test.csv"]
    result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", *settings])
    assert result.exit_code == 0, result.stderr
    record = json.loads((project / "out" / "run.json").read_text())
    confidence = muka_fast.Classifier.load(str(project / "out"), torch.device("cpu")).calibration
    assert confidence._asdict() == record["calibration"]
    assert confidence.temperature != 1
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
    plain = CliRunner().invoke(app, ["predict", "out", "play some jazz", "--temperature", "1"]).stdout.split("\t")
    assert plain[1] != probability
    exported = CliRunner().invoke(app, ["export", "out", "onnx", "--atol", "1e-3"])
    assert exported.exit_code == 0, exported.stderr
    assert CliRunner().invoke(app, ["predict", "onnx", "play some jazz"]).stdout.split("\t")[0] == "–"
    assert OnnxClassifier("onnx").calibration == confidence


def test_scores_are_reused_by_other_selections_and_refused_for_other_texts(project, monkeypatch):
    monkeypatch.chdir(project)
    change(project, scores="shared-scores")
    fixed = ["--no-adaptive"]
    for number, extra in enumerate(
        (fixed, ["--method", "muka", "--trust", "mc-energy"], [*fixed, "--set", "selection.targets=hard"])
    ):
        result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", "-o", f"out-{number}", *extra])
        assert result.exit_code == 0, result.stderr
        assert ("scoring with" in result.stderr) == (number == 0)
    with (project / "texts.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    result = CliRunner().invoke(app, ["amalgamate", "recipe.yaml", "-o", "out-3", *fixed])
    assert result.exit_code == 2
    assert "'texts.count': stored 60, now 61" in result.stderr


def interrupt(arguments, monkeypatch):
    """Stop a run after its training and before its end."""
    with monkeypatch.context() as patch:
        patch.setattr(
            muka_fast.pipeline.amalgamate, "build_record", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert CliRunner().invoke(app, arguments).exit_code == 130


def weights(folder):
    return (folder / "model.safetensors").read_bytes()


def test_an_unfinished_run_of_other_texts_or_another_base_is_not_gone_on_with(project, monkeypatch):
    monkeypatch.chdir(project)
    run = ["amalgamate", "recipe.yaml"]
    for name in ("out", "elsewhere"):
        interrupt([*run, "-o", name], monkeypatch)
    lines = [json.dumps({"text": text}) for text in texts(60, 500)]
    (project / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert CliRunner().invoke(app, [*run, "-o", "fresh"]).exit_code == 0

    refused = CliRunner().invoke(app, run)
    assert (refused.exit_code, "fix: start over with --overwrite" in refused.stderr) == (2, True)
    refused = CliRunner().invoke(app, ["score", "recipe.yaml"])
    assert (refused.exit_code, "overwrite" in refused.stderr) == (2, False)
    assert "delete this store" in refused.stderr
    again = CliRunner().invoke(app, [*run, "--overwrite"])
    assert (again.exit_code, "resuming" in again.stderr) == (0, False), again.stderr
    assert weights(project / "out") == weights(project / "fresh")

    again = CliRunner().invoke(app, [*run, "-o", "elsewhere", "--set", "scores=scores2"])
    assert (again.exit_code, "restarting training" in again.stderr) == (0, True), again.stderr
    assert weights(project / "elsewhere") == weights(project / "fresh")

    interrupt([*run, "-o", "third", "--set", "scores=scores2"], monkeypatch)
    shutil.rmtree(project / "base")
    make_model(project / "base", ("x", "y"), seed=9)
    for name, reset in (("third", True), ("other", False)):
        again = CliRunner().invoke(app, [*run, "-o", name, "--set", "scores=scores2"])
        assert (again.exit_code, "restarting training" in again.stderr) == (0, reset), again.stderr
    assert weights(project / "third") == weights(project / "other") != weights(project / "fresh")


def test_overwriting_discards_scores_of_other_texts_but_no_store_of_its_own_place(project, monkeypatch):
    monkeypatch.chdir(project)
    for place in ([], ["--set", "scores=shared"]):
        assert CliRunner().invoke(app, ["score", "recipe.yaml", *place]).exit_code == 0
    with (project / "texts.jsonl").open("a") as file:
        file.write('{"text": "one more"}\n')
    run = ["amalgamate", "recipe.yaml", "--set", "training.max_steps=2"]
    result = CliRunner().invoke(app, [*run, "--overwrite"])
    assert result.exit_code == 0, result.stderr
    before = parquet(project / "shared")
    result = CliRunner().invoke(app, [*run, "--overwrite", "-o", "out2", "--set", "scores=shared"])
    assert (result.exit_code, "--overwrite" in result.stderr) == (2, False)
    assert "choose another 'scores' folder" in result.stderr
    assert parquet(project / "shared") == before
    refused = CliRunner().invoke(app, ["score", "recipe.yaml", "--set", "training.max_steps=2"])
    assert (refused.exit_code, "--overwrite" in refused.stderr) == (2, False)  # the folder holds a finished run
    assert "choose another output or 'scores' folder" in refused.stderr


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


# A process inherits that SIGINT is ignored, as it is for a test run that a shell started in the background.
INTERRUPTIBLE = (
    "import runpy, signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "sys.argv = ['muka-fast', *sys.argv[1:]]; runpy.run_module('muka_fast', run_name='__main__')"
)


def run_and_stop(arguments, folder, when, how) -> subprocess.CompletedProcess:
    """Start a run, wait until ``when()`` holds, send it a signal, and return how it ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, *arguments],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = time.monotonic() + 120
    while not when():
        assert process.poll() is None, f"the run ended before it could be stopped: {process.communicate()[1]}"
        assert time.monotonic() < limit, "the run never got as far"
        time.sleep(0.005)
    process.send_signal(how)
    stdout, stderr = process.communicate(timeout=60)
    return subprocess.CompletedProcess(arguments, process.returncode, stdout, stderr)


@pytest.fixture
def long_project(project):
    """The project with enough work in it to be stopped in the middle."""
    lines = [json.dumps({"text": text}) for text in texts(200)]
    (project / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    change(
        project,
        uncertainty={"passes": 40, "adaptive": False, "shard_size": 4, "token_budget": 64},
        training={"epochs": 6, "batch_size": 8, "evaluations": 12, "learning_rate": 1e-3},
    )
    return project


@pytest.mark.slow
def test_killed_while_scoring_and_while_training_the_same_command_gives_the_same_bytes(
    long_project, one_thread, monkeypatch
):
    project = long_project
    monkeypatch.chdir(project)
    run_here("amalgamate", "recipe.yaml", "-o", "whole")
    arguments, out = ["amalgamate", "recipe.yaml", "-o", "cut"], project / "cut"

    killed = run_and_stop(arguments, project, lambda: len(list(out.glob("scores/teacher-1/*"))) > 3, signal.SIGKILL)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < len(parquet(out)) < len(parquet(project / "whole"))

    killed = run_and_stop(
        arguments, project, lambda: len(list(out.glob("checkpoints/*/trainer_state.json"))) > 1, signal.SIGKILL
    )
    assert killed.returncode == -signal.SIGKILL
    assert not (out / "model.safetensors").exists()
    newest = max(out.glob("checkpoints/checkpoint-*"), key=lambda path: path.stat().st_mtime)
    torn = out / "checkpoints" / "checkpoint-99999"  # what a kill in the middle of saving leaves
    shutil.copytree(newest, torn)
    (torn / "trainer_state.json").write_text("{")

    last = CliRunner().invoke(app, arguments)
    assert last.exit_code == 0, last.stderr
    assert "resuming the unfinished run" in last.stderr
    assert "scoring with" not in last.stderr
    assert parquet(out / "scores") == parquet(project / "whole" / "scores")
    assert (out / "model.safetensors").read_bytes() == (project / "whole" / "model.safetensors").read_bytes()
    records = [json.loads((project / name / "run.json").read_text()) for name in ("whole", "cut")]
    assert records[0]["training"]["best_loss"] == records[1]["training"]["best_loss"]


@pytest.mark.slow
def test_interrupted_it_exits_130_and_prints_how_to_go_on(long_project):
    out = long_project / "out"
    stopped = run_and_stop(
        ["amalgamate", "recipe.yaml"],
        long_project,
        lambda: len(list(out.glob("scores/teacher-0/*"))) > 2,
        signal.SIGINT,
    )
    assert stopped.returncode == 130, stopped.stderr
    assert "muka-fast amalgamate recipe.yaml" in stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert stopped.stdout == ""
    assert not list(out.rglob("*.tmp"))
    assert parquet(out)


def call(arguments: list[str], folder: Path) -> subprocess.CompletedProcess:
    done = subprocess.run(arguments, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.mark.slow
def test_two_processes_give_the_same_scores_and_a_like_student(project, one_thread, monkeypatch):
    monkeypatch.chdir(project)
    change(project, training={"epochs": 6, "batch_size": 8, "learning_rate": 1e-3}, test="test.csv")
    run = ["muka_fast", "amalgamate", "recipe.yaml", "-o"]
    run_here(*run[1:], "alone")
    # Without MPI accelerate starts a single process on CPUs, whatever --num_processes says; torchrun starts two.
    accelerate = ["accelerate.commands.launch", "--num_processes", "2", "--cpu", "--num_machines", "1"]
    call([sys.executable, "-m", *accelerate, "-m", *run, "launched"], project)
    pair = call([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", *run, "pair"], project)
    assert pair.stdout.count(str(project / "pair")) == 1

    records = {name: json.loads((project / name / "run.json").read_text()) for name in ("alone", "launched", "pair")}
    assert [record["processes"] for record in records.values()] == [1, 1, 2]
    assert parquet(project / "launched" / "scores") == parquet(project / "alone" / "scores")
    for path in sorted((project / "alone" / "scores").rglob("*.parquet")):
        one = pq.read_table(path)
        two = pq.read_table(project / "pair" / "scores" / path.relative_to(project / "alone" / "scores"))
        assert one["text_id"].equals(two["text_id"])
        for column in ("predictive_entropy", "expected_entropy", "mean_energy"):
            assert np.allclose(one[column], two[column], atol=1e-6)
    assert records["launched"]["training"]["best_loss"] == records["alone"]["training"]["best_loss"]
    assert records["pair"]["training"]["steps"] == records["alone"]["training"]["steps"]
    # Two processes draw other dropout masks for the student, nothing else differs.
    assert records["pair"]["training"]["best_loss"] == pytest.approx(
        records["alone"]["training"]["best_loss"], rel=0.25
    )


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
