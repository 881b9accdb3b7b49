"""The benchmark of exported teachers at tiny sizes."""

import sys
from pathlib import Path

from pyarrow import parquet, table

from tests.helpers.models import make_model, texts

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import forms
import pytest


@pytest.mark.slow
def test_every_form_of_teacher_is_compared(tmp_path):
    for index, labels in enumerate((("music", "weather"), ("travel", "bank", "lights"))):
        make_model(tmp_path / f"teacher-{index + 1}", labels, seed=index, initializer_range=0.2, scale=1.0)
    parquet.write_table(table({"text": texts(30), "label": ["music"] * 30}), tmp_path / "pool.parquet")
    found = forms.measure(tmp_path, 20, 1)
    assert (found["texts"], list(found["rows"])) == (20, ["torch", "onnx", "onnx-int8"])
    assert found["rows"]["torch"]["largest_logit_difference"] == 0
    assert 0 < found["rows"]["onnx"]["largest_logit_difference"] < 1e-4
    assert found["rows"]["onnx"]["same_choice"] == 1
    assert found["rows"]["onnx-int8"]["largest_logit_difference"] > 1e-4
    assert "| tiny, onnx-int8 |" in forms.table({"tiny": found})
