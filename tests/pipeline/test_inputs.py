import json
from pathlib import Path
from types import SimpleNamespace

import datasets
import numpy as np
import pandas as pd
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from muka_fast.config.specs import DataSpec, StudentSpec, TeacherSpec
from muka_fast.errors import CorpusError, ModelError, RecipeError
from muka_fast.pipeline.inputs import InputFolder, labels_in_memory, recipe_of_inputs, texts_in_memory
from tests.helpers.models import make_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    folder = make_model(tmp_path_factory.mktemp("loaded") / "banking")
    return AutoModelForSequenceClassification.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)


SAVED = SimpleNamespace(save_pretrained=print)
"""What can be saved, and has no configuration."""
TABLE = {"label": [0, 1], "Sentence": ["a", "b"]}


@pytest.mark.parametrize(
    "values",
    [
        ["a", "b"],
        ("a", "b"),
        iter(["a", "b"]),
        np.array(["a", "b"]),
        pd.Series(["a", "b"], index=[7, 3]),
        pd.DataFrame(TABLE),
        datasets.Dataset.from_dict(TABLE),
        datasets.Dataset.from_dict(TABLE)["Sentence"],
    ],
    ids=lambda values: type(values).__name__,
)
def test_texts_are_read_from_what_holds_them(values):
    assert texts_in_memory(values) == (["a", "b"], None)


def test_pairs_are_read_as_two_columns():
    assert texts_in_memory([("a", "b"), ["c", ""]]) == (["a", "c"], ["b", ""])
    with pytest.raises(CorpusError, match=r"not a pair of texts\nwhere: texts\[1\]"):
        texts_in_memory([("a", "b"), "c"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "no texts"),
        (["a", None], r"is missing \(null or NaN\)\nwhere: texts\[1\]"),
        (["a", float("nan")], r"is missing \(null or NaN\)\nwhere: texts\[1\]"),
        ([5], r"holds 5, not text\nwhere: texts\[0\]"),
        (pd.DataFrame({"x": ["a"], "y": ["b"]}), "no text column among columns: x, y"),
    ],
)
def test_values_that_are_no_texts_are_refused(values, message):
    with pytest.raises(CorpusError, match=message):
        texts_in_memory(values)


def test_one_string_is_no_list_of_texts():
    with pytest.raises(TypeError, match="give a list of texts"):
        texts_in_memory("a")
    with pytest.raises(TypeError, match="a mapping is a section"):
        texts_in_memory({"text": ["a", "b"]})


def test_missing_labels_are_none():
    assert labels_in_memory(["x", None, float("nan"), "", np.int64(3)], 5) == ["x", None, None, None, "3"]
    assert labels_in_memory(pd.Series(["x", None], dtype="string"), 2) == ["x", None]
    assert labels_in_memory(np.array([2, np.nan], dtype=np.float32), 2) == ["2", None]
    assert labels_in_memory(pd.Series([1, None, 2.5]), 3) == ["1", None, "2.5"]
    assert labels_in_memory(["nan"], 1) == ["nan"]
    with pytest.raises(CorpusError, match="2 texts and 1 labels"):
        labels_in_memory(["x"], 2)


def test_equal_texts_are_one_file_and_others_another(tmp_path):
    folder = InputFolder(tmp_path / "inputs")
    first, same, other = folder.texts(["a", "b"]), folder.texts(pd.Series(["a", "b"])), folder.texts(["a"])
    assert first == same
    assert first.texts != other.texts
    assert [json.loads(line) for line in Path(first.texts[0]).read_text().splitlines()] == [
        {"text": "a"},
        {"text": "b"},
    ]
    assert first.text_column == "text"


def test_labelled_texts_without_a_label_are_left_out(tmp_path):
    folder = InputFolder(tmp_path)
    spec = folder.texts([("a", "b"), ("c", "d")], ["x", None])
    assert json.loads(Path(spec.texts[0]).read_text()) == {"text": "a", "pair": "b", "label": "x"}
    assert (spec.pair_column, spec.label_column) == ("pair", "label")
    with pytest.raises(CorpusError, match=r"no text has a label\nwhere: test"):
        folder.texts(["a"], [None], "test")


def test_files_and_sections_are_left_as_they_are(tmp_path):
    folder = InputFolder(tmp_path / "inputs")
    spec = DataSpec(texts=["a.csv"], text_column="t")
    assert folder.texts(spec) is spec
    assert folder.texts("a.csv") == DataSpec(texts=["a.csv"])
    assert folder.texts({"texts": "a.csv", "text_column": "t"}) == {"texts": "a.csv", "text_column": "t"}
    assert folder.teacher("owner/name", "x") == {"model": "owner/name", "name": "x"}
    assert folder.teacher({"predictions": "a.csv"}) == {"predictions": "a.csv"}
    assert folder.teacher(TeacherSpec(model="m"), "x") == TeacherSpec(model="m", name="x")
    assert folder.student(StudentSpec(model="m")) == StudentSpec(model="m")
    assert not folder.path.exists()


def test_a_loaded_model_is_saved_once_under_its_content(loaded, tmp_path):
    folder = InputFolder(tmp_path / "inputs")
    model, tokenizer = loaded
    spec = folder.teacher((model, tokenizer))
    saved = Path(spec["model"])
    assert saved.name == "banking"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {file.name for file in saved.iterdir()}
    assert folder.teacher(SimpleNamespace(model=model, tokenizer=tokenizer)) == spec
    assert list(folder.path.rglob("*.tmp")) == []
    changed = AutoModelForSequenceClassification.from_config(model.config)
    assert folder.teacher((changed, tokenizer))["model"] != spec["model"]


@pytest.mark.parametrize(
    "given", [5, SimpleNamespace(model=5, tokenizer=6), SimpleNamespace(model=5, tokenizer=None), (SAVED, SAVED)]
)
def test_what_is_no_model_is_refused(given, tmp_path):
    with pytest.raises(ModelError, match="no model with its tokenizer\nwhere: teacher"):
        InputFolder(tmp_path).teacher(given)


def test_a_model_without_its_tokenizer_is_refused(loaded, tmp_path):
    with pytest.raises(
        ModelError, match=r"no model with its tokenizer\nwhere: student\nfix: give \(model, tokenizer\)"
    ):
        InputFolder(tmp_path).student(loaded[0])


def test_a_model_that_cannot_be_saved_is_named(tmp_path):
    def refuse(folder):
        raise ValueError("4-bit weights cannot be saved")

    broken = SimpleNamespace(save_pretrained=refuse, name_or_path="x/four", config=None)
    with pytest.raises(ModelError, match="cannot save the model: 4-bit weights cannot be saved\nwhere: teacher four"):
        InputFolder(tmp_path).teacher((broken, broken))


def recipe(tmp_path, **others):
    inputs = {"teachers": {"x": "owner/a", "y": "owner/b"}, "texts": ["a"], "student": "owner/c"}
    return recipe_of_inputs(tmp_path / "out", inputs, {"test": None, "labelled": None} | others)


def test_arguments_become_a_recipe_with_inputs_beside_the_output(tmp_path):
    found = recipe(tmp_path, training={"max_steps": 3}, selection="muka", test=(["t"], ["x"]), seed=None)
    assert [teacher.name for teacher in found.teachers] == ["x", "y"]
    assert (found.training.max_steps, found.selection.model_dump()["method"], found.seed) == (3, "muka", 0)
    assert Path(found.data.texts[0]).parent == tmp_path / "out-inputs"
    assert found.test.label_column == "label"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("selection", [None, "pool", {"method": "pool", "shares": {"x": 0.5}}])
def test_labels_of_some_texts_go_to_the_selection(tmp_path, selection):
    found = recipe(tmp_path, labelled=(["a", "b"], ["x", None]), selection=selection)
    (file,) = found.selection.labelled_texts.texts
    assert json.loads(Path(file).read_text()) == {"text": "a", "label": "x"}
    assert found.selection.known_shares == ({"x": 0.5} if isinstance(selection, dict) else {})


def test_an_unknown_key_is_refused_with_the_nearest_one(tmp_path):
    with pytest.raises(RecipeError, match="unknown key 'trainig'\nwhere: amalgamate\nfix: did you mean 'training'"):
        recipe(tmp_path, trainig={})
