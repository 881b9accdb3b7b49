import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from muka_fast.errors import ModelError
from muka_fast.export.export_record import (
    COMMITTED,
    ExportedGraph,
    ExportRecord,
    Parity,
    finish_commit,
    is_exported,
    read_export_record,
)
from muka_fast.inference.predictions import Calibration
from muka_fast.runtime.integrity import FileRecord

RECORD = ExportRecord(
    model="org/model",
    revision="abc",
    weights="f" * 16,
    opset=18,
    fuse="cpu",
    fused={"attention": 2},
    graphs={"fp32": ExportedGraph("model.onnx", 12, "0" * 64, "", Parity(256, 1e-5, 1e-6, 1.0))},
    labels=("music", "weather"),
    max_length=48,
    calibration=Calibration(1.5, 0.25),
    inputs={"input_ids": 0, "attention_mask": 0},
    padding_side="right",
    mixed_lengths=True,
    counted_token=None,
    truncation_side="right",
    versions={"python": "3.12"},
    files={"model.onnx": FileRecord(0, sha256(b"").hexdigest()), "tokenizer.json": FileRecord(2, "0" * 64)},
)


@pytest.fixture
def folder(tmp_path):
    RECORD.write(tmp_path)
    (tmp_path / "model.onnx").touch()
    return tmp_path


def test_a_record_survives_its_file(folder):
    assert is_exported(folder)
    assert read_export_record(folder) == RECORD


def test_another_version_is_refused_by_its_number(folder):
    (folder / "export.json").write_text(json.dumps({"schema_version": 1, "labels": ["a"]}))
    with pytest.raises(ModelError, match="schema version 1; this version of muka-fast reads 3") as refused:
        read_export_record(folder)
    assert refused.value.hint == "export the model again"


@pytest.mark.parametrize("key", ["inputs", "mixed_lengths", "graphs", "calibration"])
def test_a_missing_key_is_named(key, folder):
    tree = {name: value for name, value in RECORD.tree().items() if name != key}
    (folder / "export.json").write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=f"{key} is missing"):
        read_export_record(folder)


def test_a_record_without_graphs_is_refused(folder):
    replace(RECORD, graphs={}).write(folder)
    with pytest.raises(ModelError, match="graphs: there is none"):
        read_export_record(folder)
    (folder / "export.json").write_text(json.dumps(RECORD.tree() | {"graphs": {"fp32": 3}}))
    with pytest.raises(ModelError, match="cannot read the export's record"):
        read_export_record(folder)


def change(*path, to):
    """Return the record's tree with another value at a path of keys."""
    tree = json.loads(json.dumps(RECORD.tree()))
    inner = tree
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return tree


WRONG = {
    "labels a string": change("labels", to="music"),
    "labels numbers": change("labels", to=[1, 2]),
    "no labels": change("labels", to=[]),
    "graphs a list": change("graphs", to=[]),
    "a graph a string": change("graphs", "fp32", to="model.onnx"),
    "a graph elsewhere": change("graphs", "fp32", "file", to="../model.onnx"),
    "a graph without hash": change("graphs", "fp32", "file", to="model_fp16.onnx"),
    "an unknown key": change("graphs", "fp32", "extra", to=1),
    "bytes true": change("graphs", "fp32", "bytes", to=True),
    "parity null": change("graphs", "fp32", "parity", to=None),
    "length a string": change("max_length", to="48"),
    "length zero": change("max_length", to=0),
    "length a fraction": change("max_length", to=48.5),
    "inputs a list": change("inputs", to=["input_ids"]),
    "no ids": change("inputs", to={"attention_mask": 0}),
    "an unknown input": change("inputs", to={"input_ids": 0, "pixel_values": 0}),
    "side": change("padding_side", to="middle"),
    "cut": change("truncation_side", to=None),
    "files a list": change("files", to=[]),
    "a hash of another type": change("files", "model.onnx", "sha256", to=7),
    "a file elsewhere": change("files", to={"/etc/passwd": {"bytes": 1, "sha256": "0"}}),
    "temperature NaN": change("calibration", "temperature", to=float("nan")),
    "temperature 0": change("calibration", "temperature", to=0),
    "temperature negative": change("calibration", "temperature", to=-1),
    "temperature infinite": change("calibration", "temperature", to=float("inf")),
    "temperature a string": change("calibration", "temperature", to="1"),
    "threshold above 1": change("calibration", "abstain_below", to=1.5),
    "calibration a list": change("calibration", to=[1, 0]),
    "calibration with another key": change("calibration", "t", to=1),
    "a list": [],
    "a number": 7,
    "no version": {key: value for key, value in RECORD.tree().items() if key != "schema_version"},
    "version a string": change("schema_version", to="2"),
}


@pytest.mark.parametrize("tree", WRONG.values(), ids=WRONG)
def test_a_record_of_another_shape_is_refused_in_words(tree, folder):
    (folder / "export.json").write_text(json.dumps(tree))
    with pytest.raises(ModelError) as refused:
        read_export_record(folder)
    assert refused.value.where == str(folder / "export.json")
    assert refused.value.hint


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 100_000, bytes(10), b"1" * 5000], ids=lambda content: repr(content[:20])
)
def test_a_damaged_record_is_refused_in_words(content, folder):
    (folder / "export.json").write_bytes(content)
    with pytest.raises(ModelError, match="cannot read the export's record"):
        read_export_record(folder)


def test_the_damaged_file_is_named(folder):
    record = read_export_record(folder)
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        record.require_intact(folder, record.graphs["fp32"])
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer\.json is damaged"):
        record.require_intact(folder, record.graphs["fp32"])
    (folder / "model.onnx").write_text("longer")
    with pytest.raises(ModelError, match=r"model\.onnx is damaged: 6 bytes in place of 0") as refused:
        record.require_intact(folder, record.graphs["fp32"])
    assert "export the model again" in refused.value.hint


def write_export(folder, content, names):
    """Write an export whose files all hold the same content."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(content)
    files = {name: FileRecord(len(content), sha256(content.encode()).hexdigest()) for name in names}
    replace(RECORD, model=content, files=files).write(folder)


@pytest.mark.parametrize("moved", range(6))
def test_a_commit_that_was_cut_off_is_finished_by_whoever_reads(tmp_path, moved):
    """After any number of moves the reader sees the new export, whole, and files of others."""
    write_export(tmp_path, "old", ["model.onnx", "model_int8.onnx", "tokenizer.json"])
    (tmp_path / "mine.txt").write_text("mine")
    new = ["model.onnx", "model.onnx.data", "config.json", "tokenizer.json"]
    write_export(tmp_path / COMMITTED, "new", new)
    for name in [*sorted(new), "export.json"][:moved]:
        (tmp_path / COMMITTED / name).replace(tmp_path / name)
    assert is_exported(tmp_path)
    record = read_export_record(tmp_path)
    assert record.model == "new"
    record.require_intact(tmp_path, record.graphs["fp32"])
    expected = [*new, "export.json", "mine.txt"] + (["model_int8.onnx"] if moved == 5 else [])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(expected)


@pytest.mark.parametrize("folder_is_left", [False, True])
def test_two_processes_that_finish_a_commit_keep_its_files(folder_is_left, tmp_path, monkeypatch):
    """The other process moves the record after this one has seen it."""
    write_export(tmp_path, "old", ["model.onnx"])
    write_export(tmp_path / COMMITTED, "new", ["model.onnx", "model.onnx.data"])
    is_file = Path.is_file

    def is_file_until_moved(path):
        found = is_file(path)
        if path == tmp_path / COMMITTED / "export.json":
            monkeypatch.undo()
            finish_commit(tmp_path)
            if folder_is_left:
                (tmp_path / COMMITTED).mkdir()
        return found

    monkeypatch.setattr(Path, "is_file", is_file_until_moved)
    finish_commit(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export.json", "model.onnx", "model.onnx.data"]
    record = read_export_record(tmp_path)
    record.require_intact(tmp_path, record.graphs["fp32"])


def test_an_export_that_is_not_committed_does_not_count(tmp_path):
    write_export(tmp_path, "old", ["model.onnx"])
    write_export(tmp_path / ".export.77.tmp", "new", ["model.onnx"])
    finish_commit(tmp_path)
    assert read_export_record(tmp_path).model == "old"
