from pathlib import Path

import pytest

from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.graph_teacher import graph_fingerprint


@pytest.mark.parametrize("name", ["model.onnx", "model.onnx_data_1", "weights.bin", "config.json", "vocab.txt"])
def test_the_fingerprint_covers_every_file_that_may_hold_weights(name, tmp_path: Path):
    for file in ("model.onnx", "model.onnx_data_1", "weights.bin", "config.json", "vocab.txt"):
        (tmp_path / file).write_text("a")
    checkpoint = Checkpoint(tmp_path, None, "teacher")
    before = graph_fingerprint(checkpoint, tmp_path / "model.onnx")
    (tmp_path / name).write_text("b")
    assert graph_fingerprint(checkpoint, tmp_path / "model.onnx") != before
