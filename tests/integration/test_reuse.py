"""What a run takes over from an earlier one: scores, checkpoints, its output folder."""

import json
import shutil

import pytest
from typer.testing import CliRunner

import muka_fast
from muka_fast.cli import app
from tests.helpers.models import make_model, texts
from tests.helpers.projects import change_recipe, parquet


@pytest.mark.slow
def test_scores_are_reused_by_other_selections_and_refused_for_other_texts(project, monkeypatch):
    monkeypatch.chdir(project)
    change_recipe(project, scores="shared-scores")
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


@pytest.mark.slow
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


@pytest.mark.slow
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
