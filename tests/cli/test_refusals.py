"""What the command line refuses: each with one clear error, and nothing written."""

import json

import pytest
from safetensors.torch import load_file, save_file

from tests.helpers.files import write
from tests.helpers.models import make_model, make_tokenizer
from tests.helpers.projects import change_recipe


@pytest.mark.slow
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
        (lambda p: change_recipe(p, teachers=["one"]), "1 teacher(s) given, at least 2"),
        (lambda p: change_recipe(p, teachers=["one", "two", "./one"]), "same teacher twice"),
        (lambda p: change_recipe(p, data={"texts": "texts.jsonl", "text_column": "body"}), "no column 'body'"),
        (lambda p: write(p / "texts.jsonl", ""), "no rows"),
        (lambda p: write(p / "texts.jsonl", b'{"text": "caf\xe9"}\n'), "not UTF-8"),
        (lambda p: (write(p / "t.csv", "text,n\na,1,2\n"), change_recipe(p, data="t.csv")), "ragged row"),
        (lambda p: write(p / "texts.jsonl", '{"text": NaN}\n'), "missing (null or NaN)"),
        (lambda p: write(p / "texts.jsonl", '{"text": 7}\n'), "holds 7, not text"),
        (lambda p: change_recipe(p, techers=[]), "did you mean 'teachers'?"),
        (lambda p: change_recipe(p, seed="x"), "seed"),
        (lambda p: change_recipe(p, test="texts.jsonl"), "no label column"),
        (lambda p: (write(p / "o.csv", "text,label\na,zebra\n"), change_recipe(p, test="o.csv")), "none of the labels"),
        (
            lambda p: (
                write(p / "texts.jsonl", json.dumps({"text": "music " * 99}) + '\n{"text": "a"}\n'),
                change_recipe(p, data={"texts": "texts.jsonl", "long_texts": "error"}),
            ),
            "1 text(s) are longer than the 48 tokens",
        ),
        (
            lambda p: (
                make_tokenizer(p / "base", max_length=8),
                write(p / "texts.jsonl", json.dumps({"text": "music " * 9}) + '\n{"text": "a"}\n'),
                change_recipe(p, data={"texts": "texts.jsonl", "long_texts": "error"}),
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
