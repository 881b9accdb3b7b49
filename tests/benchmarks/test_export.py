"""The benchmarks of exports at tiny sizes: every row is measured, or says why not."""

import sys
from pathlib import Path

from conftest import make_model, texts
from pyarrow import parquet, table

from muka_fast.corpus import build_corpus

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import forms
import serving


def not_compiled(folder, compiled=False):
    """Serve by the pipeline: compiling is slow."""
    return serving.pipeline(folder)


def test_every_way_to_serve_is_timed_or_says_why_not(tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "REQUESTS", {1: 2, 32: 1})
    monkeypatch.setattr(serving, "ROUNDS", 1)
    monkeypatch.setattr(serving, "eager", not_compiled)
    names = ("music", "weather")
    model = make_model(tmp_path / "model", names, seed=1, initializer_range=0.2, scale=1.0)
    labelled = build_corpus(texts(70), labels=[names[i % 2] for i in range(70)])
    found = serving.measure(model, tmp_path, labelled, build_corpus(texts(300)))
    assert {"transformers pipeline", "ONNX fp32, fused", "ONNX int8", "Optimum, fused graph"} <= set(found["rows"])
    exact = [row for name, row in found["rows"].items() if name != "ONNX int8" and "missing" not in row]
    accuracies = {row["accuracy"] for row in exact}
    assert len(accuracies) == 1, "the same student answers differently"
    for name, row in found["rows"].items():
        assert "missing" in row or row["all at once"]["texts_per_second"] > 0, name
    assert found["rows"]["transformers pipeline"]["batch 1"]["pipeline_time_over_it"] == 1
    assert found["start_seconds"] > 0
    assert "| ONNX int8 |" in serving.table(found)


def test_every_form_of_teacher_is_compared(tmp_path, monkeypatch):
    monkeypatch.setenv("MUKA_FAST_CACHE", str(tmp_path / "cache"))
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
