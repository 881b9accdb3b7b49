import json
import subprocess
import sys

import pytest
import yaml

from muka_fast import __version__
from muka_fast.cli.flags import recipe_from_flags
from muka_fast.config.recipe import Recipe
from muka_fast.errors import RecipeError
from tests.helpers.models import texts
from tests.helpers.projects import change_recipe


def test_help_and_version_import_neither_torch_nor_transformers():
    code = (
        "import sys; from muka_fast.cli import app\n"
        "try: app(sys.argv[1:])\n"
        "except SystemExit as e: code = e.code\n"
        "heavy = {'torch', 'transformers', 'numpy', 'datasets', 'pyarrow'} & set(sys.modules)\n"
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    for arguments in (["--help"], ["amalgamate", "--help"], ["--version"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == __version__


def test_every_command_is_listed_and_described(run):
    listing = run("--help").stdout
    for command in ("init", "check", "amalgamate", "score", "ask", "evaluate", "predict", "export", "demo", "env"):
        assert command in listing
        assert run(command, "--help").exit_code == 0


@pytest.mark.parametrize(("command", "keeps"), [(("env",), False), (("score", "recipe.yaml"), True)])
def test_an_interrupted_command_prints_how_to_resume_if_parts_are_kept(run, monkeypatch, command, keeps):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("muka_fast.cli.tools.describe", stop)
    monkeypatch.setattr("muka_fast.pipeline.amalgamate.score", stop)
    result = run(*command)
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted.")
    assert ("to resume, run the same command" in result.stderr) is keeps


def test_init_writes_a_recipe_once(run, project):
    assert run("init", "new.yaml").stdout.strip() == "new.yaml"
    assert "teachers" in yaml.safe_load((project / "new.yaml").read_text())
    again = run("init", "new.yaml")
    assert (again.exit_code, "the file exists" in again.stderr) == (2, True)


def test_check_prints_the_union_and_writes_nothing(run, project):
    before = sorted(path.name for path in project.iterdir())
    result = run("check", "recipe.yaml")
    assert result.exit_code == 0, result.stderr
    for part in ("label space: 5 classes", "music", "DistilBert", "6/6 full", "texts: 60", "3 passes, on cpu"):
        assert part in result.stdout
    as_json = json.loads(run("check", "recipe.yaml", "--json").stdout)
    assert (as_json["schema_version"], as_json["texts"]) == (2, 60)
    assert as_json["labels"] == ["music", "weather", "Travel", "bank", "lights"]
    assert [teacher["live"] for teacher in as_json["estimate"]["teachers"]] == [8, 6]
    assert sorted(path.name for path in project.iterdir()) == before


def test_flags_alone_make_a_recipe_and_win_over_a_file(run, project):
    common = ("--set", "uncertainty.shard_size=16", "--passes", 2, "--device", "cpu")
    result = run("score", "-t", "one", "-t", "two", "-s", "base", "-d", "texts.jsonl", "-o", "flags", *common)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.strip() == str(project / "flags" / "scores")
    manifest = json.loads((project / "flags" / "scores" / "manifest.json").read_text())
    assert (manifest["passes"], manifest["shard_size"]) == (2, 16)
    result = run("score", "recipe.yaml", "--passes", 1, "-o", "second", "--json")
    printed = json.loads(result.stdout)
    assert (printed["kind"], printed["texts"], len(printed["mean_predictive_entropy"])) == ("score", 60, 2)
    assert json.loads((project / "second" / "scores" / "manifest.json").read_text())["passes"] == 1


def test_another_student_keeps_what_is_no_models(project):
    def student(**section):
        change_recipe(project, student=section)
        return recipe_from_flags(project / "recipe.yaml", student=str(project / "one")).student

    kept = {"max_length": 16, "abstain_below": 0.5}
    expected = {"model": str(project / "one"), **kept}
    assert student(model="base", revision="main", trust_remote_code=True, **kept).model_dump() == expected | {
        "config": None, "tokenizer": None, "revision": None, "trust_remote_code": False, "target_accuracy": None,
    }  # fmt: skip
    assert student(config="base", tokenizer="base", **kept).model_dump(include=expected) == expected
    change_recipe(project, selection={"labelled": "test.csv"})
    assert student(model="base", target_accuracy=0.9).target_accuracy == 0.9


def test_init_prints_the_schema_of_recipes_and_writes_nothing(run, project):
    before = sorted(project.iterdir())
    schema = json.loads(run("init", "--schema").stdout)
    assert schema == Recipe.json_schema()
    assert sorted(project.iterdir()) == before


def test_a_trust_score_needs_its_method_however_it_is_given(project):
    change_recipe(project, selection={"method": "pool"})

    def method(**flags):
        return recipe_from_flags(project / "recipe.yaml", **flags).selection.method

    assert method() == "pool"
    trust = "selection.trust=energy"
    assert method(method="muka", trust="energy") == method(method="muka", assignments=[trust]) == "muka"
    for flags in ({"trust": "energy"}, {"assignments": [trust]}, {"method": "vkd", "trust": "energy"}):
        with pytest.raises(RecipeError, match=r"unknown key 'selection\.trust'") as refused:
            method(**flags)
        assert "--method muka" in refused.value.hint
    change_recipe(project, selection={"method": "muka", "trust": "energy"})
    assert method(trust="max-probability") == "muka"
    assert method(method="vkd") == method(assignments=["selection.method=vkd"]) == "vkd"


@pytest.mark.slow
def test_check_tells_what_has_no_effect_and_refuses_other_scores(run, project):
    change_recipe(project, uncertainty={}, scores="shared")
    checked = run("check", "recipe.yaml", "--scope", "tail", "--no-adaptive", "--inject-dropout", 0.3)
    assert checked.exit_code == 0, checked.stderr
    assert "no effect: uncertainty.scope, uncertainty.adaptive, uncertainty.inject_dropout" in checked.stderr
    assert run("score", "recipe.yaml").exit_code == 0
    assert run("check", "recipe.yaml").exit_code == 0
    for command in ("check", "amalgamate"):
        for extra in ([], ["--overwrite"]):
            refused = run(command, "recipe.yaml", "--seed", 9, *extra)
            assert (refused.exit_code, "'seed': stored 0, now 9" in refused.stderr) == (2, True)
    change_recipe(project, uncertainty={"passes": 0}, scores=None)
    assert run("score", "recipe.yaml").exit_code == 0
    assert "start over with --overwrite" in run("check", "recipe.yaml", "--seed", 9).stderr
    assert run("check", "recipe.yaml", "--seed", 9, "--overwrite").exit_code == 0
    (project / "folder").mkdir()
    (project / "folder" / "thesis.tex").write_text("x")
    refused = run("check", "recipe.yaml", "--set", "scores=folder")
    assert (refused.exit_code, "is no score store" in refused.stderr) == (2, True)


def test_a_student_of_pairs_is_measured_on_pairs_and_without_its_teachers(run, project):
    def pairs(name, start, column):
        rows = [f"{text},{text[::-1]},music" for text in texts(9, start)]
        (project / name).write_text(f"text,{column},label\n" + "\n".join(rows), encoding="utf-8")

    pairs("pool.csv", 0, "other")
    pairs("same.csv", 100, "other")
    pairs("single.csv", 100, "note")
    change_recipe(project, data={"texts": "pool.csv", "pair_column": "other"}, uncertainty={}, test="same.csv")
    assert run("amalgamate", "recipe.yaml", "--set", "training.max_steps=1").exit_code == 0
    record = json.loads((project / "out" / "run.json").read_text())
    measured = run("evaluate", "out", "-d", "same.csv", "--json")
    assert json.loads(measured.stdout)["risk_coverage"] == record["test"]["risk_coverage"]
    for command in ("evaluate", "predict"):
        refused = run(command, "out", "-d", "single.csv")
        assert (refused.exit_code, "no column 'other'" in refused.stderr) == (2, True)
    (project / "two").rename(project / "moved")
    alone = run("evaluate", "out", "-d", "same.csv", "--json")
    assert alone.exit_code == 0, alone.stderr
    assert "measuring the student alone: no such teacher folder" in alone.stderr
    assert json.loads(alone.stdout)["metrics"] == record["test"]["metrics"]
    assert json.loads(alone.stdout)["selection"] is None


def test_predict_and_evaluate_work_on_any_classifier(run, project):
    result = run("predict", "one", "play some jazz", "weather in rome")
    assert result.exit_code == 0, result.stderr
    lines = [line.split("\t") for line in result.stdout.splitlines()]
    assert [line[2] for line in lines] == ["play some jazz", "weather in rome"]
    assert all(line[0] in ("music", "weather") and 0.5 <= float(line[1]) <= 1 for line in lines)
    (project / "some.txt").write_text("a\n\na\n", encoding="utf-8")
    printed = json.loads(run("predict", "one", "-d", "some.txt", "--json").stdout)
    assert [p["text"] for p in printed["predictions"]] == ["a", "", "a"]
    result = run("evaluate", "one", "-d", "test.csv", "--json")
    figures = json.loads(result.stdout)
    assert figures["metrics"]["count"] == 10
    assert figures["unknown_labels"] == {"travel": 5, "bank": 5, "lights": 5}
    assert figures["selection"] is None
    assert "macro-F1" in run("evaluate", "one", "-d", "test.csv").stdout


def test_env_lists_versions(run):
    found = json.loads(run("env", "--json").stdout)
    assert found["muka-fast"] == __version__
    assert found["torch"] != "not installed"
    assert found["ONNX Runtime"].startswith("CPUExecutionProvider")
    assert "cpu" in run("env").stdout


def test_long_texts_are_cut_and_the_share_is_told(run, project):
    lines = [json.dumps({"text": text}) for text in ("music " * 99, "jazz", "rock song", "paris")]
    (project / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run("score", "recipe.yaml")
    assert result.exit_code == 0
    assert "teacher one: 25.0% of the texts were cut at 48 tokens" in result.stderr


def test_an_export_predicts_and_is_evaluated_as_its_model(run, project):
    done = run("export", "one", "onnx", "--precision", "fp32", "--precision", "fp16", "-d", "texts.jsonl", "--json")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["kind"], record["schema_version"], list(record["graphs"])) == ("export", 3, ["fp32", "fp16"])
    ours, theirs = (
        [line.split("\t") for line in run("predict", name, "-d", "texts.jsonl").stdout.splitlines()]
        for name in ("onnx", "one")
    )
    assert [(label, text) for label, _, text in ours] == [(label, text) for label, _, text in theirs]
    probabilities = [float(probability) for _, probability, _ in theirs]
    assert [float(probability) for _, probability, _ in ours] == pytest.approx(probabilities, abs=2e-4)
    line = run("predict", "onnx", "play some jazz", "--uncertainty", "--temperature", "2").stdout.split("\t")
    assert (len(line), line[-1]) == (5, "play some jazz\n")
    (project / "own.csv").write_text("text,label\nplay some jazz,music\nwhat is the weather,weather\nstop,music\n")
    theirs, ours = (json.loads(run("evaluate", name, "-d", "own.csv", "--json").stdout) for name in ("one", "onnx"))
    assert ours["metrics"] == theirs["metrics"]
    table = run("export", "one", "onnx", "--overwrite", "--test", "own.csv")
    assert "model.onnx" in table.stdout
    assert "fused: " in table.stdout
    assert table.stdout.splitlines()[-1] == "onnx"
