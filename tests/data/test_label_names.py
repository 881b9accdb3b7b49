import json

import datasets
import pytest

from muka_fast.config.specs import LabelNames
from muka_fast.data.label_names import read_label_names
from muka_fast.errors import CorpusError, LabelError
from tests.helpers.files import write


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("names.txt", "card lost\nbalance \r\ntransfer\n\n"),
        ("names", "card lost\nbalance\ntransfer"),
        ("names.json", '["card lost", "balance", "transfer"]'),
        ("id2label.json", '{"1": "balance", "0": "card lost", "2": "transfer"}'),
        ("label2id.json", '{"balance": 1, "card lost": 0, "transfer": 2}'),
        ("config.json", '{"hidden": 1, "id2label": {"1": "balance", "0": "card lost", "2": "transfer"}}'),
        ("old.json", '{"id2label": null, "label2id": {"balance": 1, "card lost": 0, "transfer": 2}}'),
    ],
)
def test_names_are_read_from_lines_and_json(tmp_path, name, content):
    assert read_label_names(LabelNames(file=write(tmp_path / name, content))) == ["card lost", "balance", "transfer"]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("[1, 2]", "no label names"),
        ("{}", "no label names"),
        ('{"1": "a", "2": "b"}', "no label names"),
        ('{"a": 0, "b": 2}', "no label names"),
        ('{"labels": ["a"]}', "no label names"),
        ("[", "cannot read the label names"),
        (None, "no such file"),
    ],
)
def test_files_without_names_are_refused(tmp_path, content, what):
    path = tmp_path / "names.json"
    if content is not None:
        write(path, content)
    with pytest.raises(LabelError, match=what) as refused:
        read_label_names(LabelNames(file=str(path)))
    assert refused.value.where == str(path)


FEATURES = datasets.Features(
    {
        "text": datasets.Value("string"),
        "intent": datasets.ClassLabel(names=["neg", "pos"]),
        "topics": datasets.Sequence(datasets.ClassLabel(names=["a", "b", "c"])),
    }
)
ROWS = {"text": ["x"], "intent": [1], "topics": [[0, 2]]}


@pytest.mark.parametrize("splits", [False, True])
def test_names_are_those_of_a_feature_of_a_saved_data_set(tmp_path, splits):
    saved = datasets.Dataset.from_dict(ROWS, features=FEATURES)
    (datasets.DatasetDict({"train": saved, "test": saved}) if splits else saved).save_to_disk(tmp_path / "set")
    folder = str(tmp_path / "set")
    assert read_label_names(LabelNames(dataset=folder, feature="intent")) == ["neg", "pos"]
    assert read_label_names(LabelNames(dataset=folder, feature="topics")) == ["a", "b", "c"]
    for feature, what, hint in (
        ("intents", "no feature 'intents'", "did you mean 'intent'?"),
        ("label", "no feature 'label'", "intent, topics"),
        ("text", "the feature 'text' names no classes", "intent, topics"),
    ):
        with pytest.raises(LabelError, match=what) as refused:
            read_label_names(LabelNames(dataset=folder, feature=feature))
        assert hint in refused.value.hint


def test_folders_that_hold_no_data_set_are_refused(tmp_path):
    with pytest.raises(LabelError, match=r"no dataset_info\.json"):
        read_label_names(LabelNames(dataset=str(tmp_path)))
    write(tmp_path / "dataset_info.json", json.dumps({"description": ""}))
    with pytest.raises(LabelError, match="no features"):
        read_label_names(LabelNames(dataset=str(tmp_path)))


def test_names_of_a_hub_data_set_need_no_rows(monkeypatch):
    class Builder:
        info = datasets.DatasetInfo(features=FEATURES)

    def load(name, config):
        if name == "owner/missing":
            raise datasets.exceptions.DatasetNotFoundError("none")
        assert (name, config) == ("owner/name", "plain")
        return Builder

    monkeypatch.setattr(datasets, "load_dataset_builder", load)
    for name in ("owner/name", "hub:owner/name"):
        assert read_label_names(LabelNames(dataset=name, config="plain", feature="intent")) == ["neg", "pos"]
    with pytest.raises(CorpusError, match="cannot load the data set"):
        read_label_names(LabelNames(dataset="owner/missing"))


def test_names_of_labelled_texts_are_found_elsewhere():
    with pytest.raises(LabelError, match="follow from labelled texts"):
        read_label_names(LabelNames(texts="few.csv"))
