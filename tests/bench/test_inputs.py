import json

import pytest
import torch

from muka_fast.bench import runner
from muka_fast.bench.inputs import BenchmarkInputs, InputOptions, add_run, from_options, parse_lengths
from muka_fast.errors import RecipeError

CPU = torch.device("cpu")


def test_from_options_takes_the_run_and_replaces_what_is_named(finished):
    project = finished.parent
    whole = from_options(InputOptions(run=finished, device="cpu"))
    assert [teacher.model for teacher in whole.teachers] == [str(project / "one"), str(project / "two")]
    assert whole.student.model == str(project / "base")
    assert (whole.trained, whole.device) == (str(finished), CPU)
    assert whole.labelled.texts == [str(project / "test.csv")]
    named = from_options(
        InputOptions(run=finished, student="other", data=("a.csv",), text_column="t", passes=3, device="cpu")
    )
    assert (named.student.model, named.texts.texts, named.texts.text_column) == ("other", ["a.csv"], "t")
    assert (named.teachers, named.passes) == (whole.teachers, 3)


def test_from_options_serves_a_student_alone(finished):
    project = finished.parent
    options = {"data": (str(project / "texts.jsonl"),), "test": (str(project / "test.csv"),), "label_column": "label"}
    inputs = from_options(InputOptions(trained=str(finished), device="cpu", **options))
    runner.require_inputs(inputs, "serving")
    assert (inputs.teachers, inputs.trained, inputs.labelled.split) == ((), str(finished), "test")


def test_from_options_needs_models_except_for_kernels(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="no models to measure"):
        from_options(InputOptions(device="cpu"), ["scoring"])
    assert from_options(InputOptions(device="cpu"), ["kernels"]).teachers == ()


def test_from_options_takes_the_demo_if_it_is_there(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "muka-demo").mkdir()
    (tmp_path / "muka-demo" / "merged").symlink_to(finished)
    assert len(from_options(InputOptions(device="cpu")).teachers) == 2
    assert from_options(InputOptions(shape="minilm", device="cpu")).teachers == ()


def test_add_run_refuses_a_folder_without_a_run(tmp_path):
    with pytest.raises(RecipeError, match="not a finished run"):
        add_run(BenchmarkInputs(CPU), tmp_path)


def test_a_random_teacher_and_random_texts():
    inputs = BenchmarkInputs(CPU, passes=2, count=4, lengths=(9.0, 2.0), shape="minilm")
    assert len(inputs.workload().sequences) == 4


def test_write_recipe_is_read_by_a_command(run_inputs, tmp_path):
    path = run_inputs(inject_dropout=None).write_recipe(tmp_path, ["a", "b"], student="base")
    tree = json.loads(path.read_text(encoding="utf-8"))
    assert (len(tree["teachers"]), tree["student"], tree["device"]) == (2, "base", "cpu")
    assert (tmp_path / "texts.jsonl").read_text(encoding="utf-8") == '{"text": "a"}\n{"text": "b"}\n'


@pytest.mark.parametrize(("text", "expected"), [("50", (50.0, 0.0)), ("50,15", (50.0, 15.0))])
def test_parse_lengths(text, expected):
    assert parse_lengths(text) == expected


@pytest.mark.parametrize("text", ["many", "2", "9,-1", "9,x"])
def test_parse_lengths_refuses_what_is_no_token_count(text):
    with pytest.raises(RecipeError, match="not token counts"):
        parse_lengths(text)
