"""The throughput benchmarks at tiny sizes: every row is measured, or says why not."""

import sys
from pathlib import Path

import numpy as np
import torch
from conftest import make_config
from transformers import AutoModelForSequenceClassification

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu_session
import passes
import scoring

CPU = torch.device("cpu")


def workload(passes=2):
    random = np.random.default_rng(0)
    return scoring.Workload([random.integers(4, 100, n) for n in (5, 9, 3, 9, 12, 4)], 40, CPU, passes)


def test_batches_hold_every_text_once_and_keep_the_budget():
    cut = workload().cut(20)
    assert [index for pick in cut for index in pick] == list(range(6))
    assert all(len(pick) == 1 or len(pick) * 12 <= 40 for pick in workload().cut(40))
    padded = workload().padded(range(2, 4))
    assert padded["attention_mask"].sum(1).tolist() == [9, 5]


def test_every_way_is_timed_or_says_why_not():
    model = AutoModelForSequenceClassification.from_config(
        make_config("bert", ("a", "b"), max_position_embeddings=128)
    ).eval()
    found = scoring.measure(model, workload(), repeats=1, small=3)
    assert {"authors", "by hand", "deterministic", "engine, full", "engine, tail", "baal"} <= set(found["rows"])
    for name, row in found["rows"].items():
        assert "missing" in row or row["seconds_a_text"] > 0, name
    assert found["rows"]["authors"]["texts"] == 3
    assert "engine, full" in scoring.table({"tiny": found})


def test_the_floor_by_hand():
    config = make_config("bert", ("a", "b"))  # width 16, inner 32, two layers
    one = scoring.Workload([np.arange(5)], 40, CPU, 1)
    layer = 2 * 5 * (4 * 16 * 16 + 2 * 16 * 32) + 4 * 25 * 16
    last = 2 * 5 * 2 * 16 * 16 + 2 * (2 * 16 * 16 + 2 * 16 * 32) + 4 * 5 * 16
    assert scoring.flops(one, config) == layer + last


def test_every_kernel_has_a_row():
    """On a machine without a GPU in Triton's interpreter: what is checked is the script, not the time."""
    shape = gpu_session.Shape(
        texts=2, length=4, passes=2, width=32, heads=2, inner=64, classes=3, copied=1024, repeats=1
    )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows = gpu_session.kernel_rows(shape, torch.float32, device)
    assert len(rows) == 6
    assert all(row["microseconds"] > 0 for row in rows.values())
    assert gpu_session.kernel_table("float32", rows).count("\n|") == 8


def test_the_many_pass_table(project, tmp_path):
    from conftest import make_model, texts
    from pyarrow import parquet, table

    names = ("music", "weather"), ("travel", "bank", "lights")
    for index, labels in enumerate(names):
        make_model(tmp_path / "runs" / f"teacher-{index + 1}", labels, seed=index, num_hidden_layers=2)
    rows = {"text": texts(24), "label": [(*names[0], *names[1])[i % 5] for i in range(24)]}
    parquet.write_table(table(rows), tmp_path / "runs" / "pool.parquet")
    found = passes.measure(tmp_path / "runs", 20, 200)
    assert found["texts"] == 20
    assert {"single pass", "full, K = 16", "tail, K = 16", "full, adaptive 0.85", "full, K = 128"} <= set(found["rows"])
    assert found["rows"]["full, K = 16"]["differs_from_16"] == 0
    assert found["rows"]["full, K = 128"]["differs_from_128"] == 0
    assert "Audit" in passes.table({"tiny": found})
