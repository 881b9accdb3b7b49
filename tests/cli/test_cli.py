import json
import subprocess
import sys

import pytest
import yaml
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from muka_fast import __version__
from muka_fast.cli import app
from muka_fast.cli.flags import recipe_from_flags
from muka_fast.config.recipe import Recipe
from muka_fast.errors import RecipeError
from tests.helpers.models import make_model, make_tokenizer, texts


@pytest.fixture
def run(project, monkeypatch):
    """Call the command line in the project's folder; returns click's result."""
    monkeypatch.chdir(project)
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


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
    for command in ("init", "check", "amalgamate", "score", "evaluate", "predict", "export", "demo", "env"):
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
    for part in ("label space: 5 classes", "music", "DistilBert", "6/6 (full)", "texts: 60", "3 passes, on cpu"):
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
        set_key(project, student=section)
        return recipe_from_flags(project / "recipe.yaml", student=str(project / "one")).student

    kept = {"max_length": 16, "abstain_below": 0.5}
    expected = {"model": str(project / "one"), **kept}
    assert student(model="base", revision="main", trust_remote_code=True, **kept).model_dump() == expected | {
        "config": None, "tokenizer": None, "revision": None, "trust_remote_code": False,
    }  # fmt: skip
    assert student(config="base", tokenizer="base", **kept).model_dump(include=expected) == expected


def test_init_prints_the_schema_of_recipes_and_writes_nothing(run, project):
    before = sorted(project.iterdir())
    schema = json.loads(run("init", "--schema").stdout)
    assert schema == Recipe.json_schema()
    assert sorted(project.iterdir()) == before


def test_a_trust_score_needs_its_method_however_it_is_given(project):
    set_key(project, selection={"method": "pool"})

    def method(**flags):
        return recipe_from_flags(project / "recipe.yaml", **flags).selection.method

    assert method() == "pool"
    trust = "selection.trust=energy"
    assert method(method="muka", trust="energy") == method(method="muka", assignments=[trust]) == "muka"
    for flags in ({"trust": "energy"}, {"assignments": [trust]}, {"method": "vkd", "trust": "energy"}):
        with pytest.raises(RecipeError, match=r"unknown key 'selection\.trust'") as refused:
            method(**flags)
        assert "--method muka" in refused.value.hint
    set_key(project, selection={"method": "muka", "trust": "energy"})
    assert method(trust="max-probability") == "muka"
    assert method(method="vkd") == method(assignments=["selection.method=vkd"]) == "vkd"


def test_check_tells_what_has_no_effect_and_refuses_other_scores(run, project):
    set_key(project, uncertainty={}, scores="shared")
    checked = run("check", "recipe.yaml", "--scope", "tail", "--no-adaptive", "--inject-dropout", 0.3)
    assert checked.exit_code == 0, checked.stderr
    assert "no effect: uncertainty.scope, uncertainty.adaptive, uncertainty.inject_dropout" in checked.stderr
    assert run("score", "recipe.yaml").exit_code == 0
    assert run("check", "recipe.yaml").exit_code == 0
    for command in ("check", "amalgamate"):
        for extra in ([], ["--overwrite"]):
            refused = run(command, "recipe.yaml", "--seed", 9, *extra)
            assert (refused.exit_code, "'seed': stored 0, now 9" in refused.stderr) == (2, True)
    set_key(project, uncertainty={"passes": 0}, scores=None)
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
    set_key(project, data={"texts": "pool.csv", "pair_column": "other"}, uncertainty={}, test="same.csv")
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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["amalgamate"], 2, "neither a recipe nor teachers given"),
        (["export", "one", "onnx", "--precision", "fp8"], 2, "not a choice: fp8"),
        (["export", "one", "onnx", "--fuse", "all"], 2, "not a choice: all"),
        (["export", "one", "one"], 2, "the folder is not empty and is not an export"),
        (["export", "./none", "onnx"], 2, "no such folder"),
        (["export", "one", "onnx", "--atol", "-1"], 1, "the fp32 graph differs from the model: logits differ by"),
        (["predict", "one", "hi", "--precision", "int8"], 2, "--precision applies to exports only"),
        (["predict", "one", "hi", "--temperature", "0"], 2, "not a temperature: 0"),
        (["predict", "one", "hi", "--abstain-below", "50"], 2, "not a probability: 50"),
        (["amalgamate", "none.yaml"], 2, "no such recipe"),
        (["init", "nodir/recipe.yaml"], 2, "no such folder"),
        (["init", "test.csv/recipe.yaml"], 2, "no such folder"),
        (["check", "recipe.yaml", "-o", "test.csv/sub"], 2, "output: a file where a folder should be"),
        (["amalgamate", "recipe.yaml", "-o", "test.csv/sub"], 2, "output: a file where a folder should be"),
        (["score", "recipe.yaml", "--set", "scores=test.csv"], 2, "scores: a file where a folder should be"),
        (["predict", "x" * 5000, "hi"], 2, "too long for the name of a file"),
        (["evaluate", "one", "-d", "x" * 5000], 2, "too long for the name of a file"),
        (["amalgamate", "recipe.yaml", "--nonsense"], 2, "No such option"),
        (["amalgamate", "recipe.yaml", "--set", "uncertainty.pases=4"], 2, "did you mean 'passes'?"),
        (["amalgamate", "recipe.yaml", "--passes", "few"], 2, "passes"),
        (["amalgamate", "recipe.yaml", "--set", "training.epochs=often"], 2, "training.epochs"),
        (["amalgamate", "recipe.yaml", "-t", "one"], 2, "1 teacher(s) given"),
        (["amalgamate", "recipe.yaml", "-t", "one", "-t", "one"], 2, "same teacher is listed twice"),
        (["amalgamate", "recipe.yaml", "-t", "./none", "-t", "one"], 2, "no such teacher folder"),
        (["amalgamate", "recipe.yaml", "-t", "no/model", "-t", "one"], 3, "hub cannot be reached"),
        (["amalgamate", "recipe.yaml", "-d", "none.csv"], 2, "no such file"),
        (["amalgamate", "recipe.yaml", "--trust", "magic"], 2, "selection.trust"),
        (["amalgamate", "recipe.yaml", "--device", "cuda"], 3, "device cuda was asked for"),
        (["predict", "one"], 2, "give texts or --data"),
        (["predict", "one", "x", "--device", "tpu"], 2, "not a choice: tpu"),
        (["predict", "./none", "x"], 2, "no such"),
        (["evaluate", "one", "-d", "none.csv"], 2, "no such file"),
        (["evaluate", "one", "-d", "texts.jsonl"], 2, "no label column"),
    ],
)
def test_wrong_use_gets_one_clear_error_and_writes_nothing(run, project, arguments, code, message):
    import torch

    if "cuda" in arguments and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    before = sorted(str(path) for path in project.rglob("*"))
    result = run(*arguments)
    assert result.exit_code == code, result.stderr
    assert message in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr
    assert sorted(str(path) for path in project.rglob("*")) == before


def test_errors_have_what_where_and_fix_and_a_traceback_only_when_asked(run):
    lines = run("amalgamate", "none.yaml").stderr.strip().splitlines()
    assert [line.split(":")[0] for line in lines] == ["error", "where", "fix"]
    assert "Traceback" in run("-v", "amalgamate", "none.yaml").stderr


def write(path, content):
    path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content, encoding="utf-8")


def set_key(project, **keys):
    recipe = yaml.safe_load((project / "recipe.yaml").read_text())
    (project / "recipe.yaml").write_text(yaml.safe_dump(recipe | keys), encoding="utf-8")


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: (p / "one" / "config.json").unlink(), "no config.json"),
        (lambda p: write(p / "one" / "model.safetensors", b"torn"), "damaged weights"),
        (lambda p: (p / "one" / "model.safetensors").rename(p / "one" / "pytorch_model.bin"), "only pickle weights"),
        (lambda p: edit_config(p / "one", id2label={"0": "x"}, label2id={"x": 0}), "single label"),
        (lambda p: edit_config(p / "one", problem_type="regression"), "for regression"),
        (lambda p: edit_config(p / "one", problem_type="multi_label_classification"), "multi-label head"),
        (lambda p: edit_config(p / "one", id2label={"0": "x", "1": "x"}, label2id={"x": 0}), "same name: 'x' and 'x'"),
        (lambda p: make_model(p / "one", ("LABEL_0", "LABEL_1"), seed=1), "only placeholders such as 'LABEL_0'"),
        (lambda p: set_key(p, teachers=["one"]), "1 teacher(s) given, at least 2"),
        (lambda p: set_key(p, teachers=["one", "two", "./one"]), "same teacher twice"),
        (lambda p: set_key(p, data={"texts": "texts.jsonl", "text_column": "body"}), "no column 'body'"),
        (lambda p: write(p / "texts.jsonl", ""), "no rows"),
        (lambda p: write(p / "texts.jsonl", b'{"text": "caf\xe9"}\n'), "not UTF-8"),
        (lambda p: (write(p / "t.csv", "text,n\na,1,2\n"), set_key(p, data="t.csv")), "ragged row"),
        (lambda p: write(p / "texts.jsonl", '{"text": NaN}\n'), "missing (null or NaN)"),
        (lambda p: write(p / "texts.jsonl", '{"text": 7}\n'), "holds 7, not text"),
        (lambda p: set_key(p, techers=[]), "did you mean 'teachers'?"),
        (lambda p: set_key(p, seed="x"), "seed"),
        (lambda p: set_key(p, test="texts.jsonl"), "no label column"),
        (lambda p: (write(p / "o.csv", "text,label\na,zebra\n"), set_key(p, test="o.csv")), "none of the labels"),
        (
            lambda p: (
                write(p / "texts.jsonl", json.dumps({"text": "music " * 99}) + '\n{"text": "a"}\n'),
                set_key(p, data={"texts": "texts.jsonl", "long_texts": "error"}),
            ),
            "1 text(s) are longer than the 48 tokens",
        ),
        (
            lambda p: (
                make_tokenizer(p / "base", max_length=8),
                write(p / "texts.jsonl", json.dumps({"text": "music " * 9}) + '\n{"text": "a"}\n'),
                set_key(p, data={"texts": "texts.jsonl", "long_texts": "error"}),
            ),
            "1 text(s) are longer than the 8 tokens of the student",
        ),
        (
            lambda p: edit_config(p / "one", hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
            "no dropout site is live",
        ),
    ],
)
def test_bad_input_is_refused_by_check_and_amalgamate_alike(run, project, damage, message):
    damage(project)
    for command in ("check", "amalgamate"):
        result = run(command, "recipe.yaml")
        assert result.exit_code == 2, result.stderr
        assert message in result.stderr
        assert "fix: " in result.stderr
        assert not (project / "out" / "model.safetensors").exists()


def test_a_teacher_that_gives_nan_is_named_with_the_text(run, project):
    weights = load_file(project / "two" / "model.safetensors")
    weights["classifier.bias"][0] = float("nan")
    save_file(weights, project / "two" / "model.safetensors", metadata={"format": "pt"})
    result = run("amalgamate", "recipe.yaml")
    assert result.exit_code == 2
    assert "NaN or infinite for text" in result.stderr
    assert f"where: teacher {project / 'two'}" in result.stderr


def test_an_output_folder_around_the_inputs_is_refused(run, project):
    before = sorted(project.rglob("*"))
    for extra in ([], ["--overwrite"]):
        result = run("amalgamate", "recipe.yaml", "-o", ".", *extra)
        assert (result.exit_code, "the output folder contains an input of the recipe" in result.stderr) == (2, True)
    assert sorted(project.rglob("*")) == before


def test_long_texts_are_cut_and_the_share_is_told(run, project):
    lines = [json.dumps({"text": text}) for text in ("music " * 99, "jazz", "rock song", "paris")]
    (project / "texts.jsonl").write_text("\n".join(lines), encoding="utf-8")
    result = run("score", "recipe.yaml")
    assert result.exit_code == 0
    assert "teacher one: 25.0% of the texts were cut at 48 tokens" in result.stderr


@pytest.mark.parametrize("extra", [[], ["--overwrite"]])
def test_an_output_folder_with_other_content_is_left_alone(run, project, extra):
    (project / "out").mkdir()
    (project / "out" / "thesis.tex").write_text("x")
    result = run("amalgamate", "recipe.yaml", *extra)
    assert (result.exit_code, "holds no muka-fast run" in result.stderr) == (2, True)
    assert [path.name for path in (project / "out").iterdir()] == ["thesis.tex"]


def test_a_full_disk_is_told_in_one_line(run, project, monkeypatch):
    import errno
    from pathlib import Path

    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device", str(self))

    monkeypatch.setattr(Path, "replace", full)
    result = run("amalgamate", "recipe.yaml")
    assert result.exit_code == 3
    assert "error: the disk is full" in result.stderr
    assert not list((project / "out").rglob("*.tmp"))
    monkeypatch.undo()
    monkeypatch.chdir(project)

    def broken(*args, **kwargs):
        raise RuntimeError("[enforce fail at inline_container.cc:665] . PytorchStreamWriter failed writing file")

    monkeypatch.setattr("torch.save", broken)  # its error when the disk is full
    result = run("amalgamate", "recipe.yaml")
    assert (result.exit_code, "error: the disk is full" in result.stderr) == (3, True)
    monkeypatch.undo()
    monkeypatch.chdir(project)
    assert run("amalgamate", "recipe.yaml").exit_code == 0


def test_an_export_predicts_and_is_evaluated_as_its_model(run, project):
    done = run("export", "one", "onnx", "--precision", "fp32", "--precision", "fp16", "-d", "texts.jsonl", "--json")
    assert done.exit_code == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["kind"], record["schema_version"], list(record["graphs"])) == ("export", 2, ["fp32", "fp16"])
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
