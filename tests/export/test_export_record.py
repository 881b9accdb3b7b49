import json
from dataclasses import replace

import pytest

from muka_fast.errors import ModelError
from muka_fast.export.export_record import ExportedGraph, ExportRecord, Parity, is_exported, read_export_record
from muka_fast.inference.predictions import Calibration

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
    truncation_side="right",
    versions={"python": "3.12"},
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
    with pytest.raises(ModelError, match="schema version 1; this version of muka-fast reads 2") as refused:
        read_export_record(folder)
    assert refused.value.hint == "export the model again"


@pytest.mark.parametrize("key", ["inputs", "graphs", "calibration"])
def test_a_missing_key_is_named(key, folder):
    tree = {name: value for name, value in RECORD.tree().items() if name != key}
    (folder / "export.json").write_text(json.dumps(tree))
    with pytest.raises(ModelError, match=f"it is incomplete: no {key}"):
        read_export_record(folder)


def test_a_record_without_graphs_is_refused(folder):
    replace(RECORD, graphs={}).write(folder)
    with pytest.raises(ModelError, match="it is incomplete: no graphs"):
        read_export_record(folder)
    (folder / "export.json").write_text(json.dumps(RECORD.tree() | {"graphs": {"fp32": 3}}))
    with pytest.raises(ModelError, match="cannot read the export's record"):
        read_export_record(folder)
