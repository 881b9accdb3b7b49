"""The benchmark of passes at tiny sizes, and the CUDA session's parts."""

import json
import os
import select
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from pyarrow import parquet, table

from muka_fast.bench.peaks import MachinePeaks
from muka_fast.bench.timer import Case, Limits, Suite
from tests.helpers.models import make_model, texts

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu_session
import passes
import passes_tables


@pytest.mark.slow
def test_the_cuda_session_needs_neither_datasets_nor_pydantic_nor_optimum():
    code = (
        "import sys\n"
        "for name in ('datasets', 'pydantic', 'optimum', 'typer', 'rich', 'pyarrow'): sys.modules[name] = None\n"
        f"sys.path.insert(0, {str(Path(gpu_session.__file__).parent)!r})\n"
        "import gpu_session\n"
        "print(len(gpu_session.workloads()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "3"), done.stderr


def failing(*_):
    raise ValueError("wrong\nmore")


def test_the_cuda_session_records_every_case_it_can(tmp_path):
    out, tops = tmp_path / "new" / "bench-gpu-2.11", MachinePeaks({"fp32": 1.0}, 1.0, (1, 2, 3))
    session = gpu_session.Session(out, {"device": "test"}, tops, torch.device("cpu"), time.perf_counter(), 1e9)
    found = out.with_name("bench-gpu-2.11.json")

    def second():
        assert json.loads(found.read_text())["suites"]["made up"]["cases"]["first"] == {"missing": "not timed yet"}
        return lambda: None

    cases = [Case("first", lambda: lambda: None, 1), Case("broken", failing, 1), Case("second", second, 1)]
    session.measure("made up", lambda: Suite("call", cases, ()), Limits(turns=2))
    session.measure("not built", failing, Limits(turns=2))
    record = json.loads(found.read_text())
    assert record["failed"] == {"made up, broken": "ValueError: wrong", "not built": "ValueError: wrong"}
    assert [case.get("repeats") for case in record["suites"]["made up"]["cases"].values()] == [2, None, 2]
    assert sorted(path.name for path in out.parent.iterdir()) == ["bench-gpu-2.11.json", "bench-gpu-2.11.txt"]
    assert "made up, broken failed: ValueError: wrong" in out.with_name("bench-gpu-2.11.txt").read_text()


@pytest.mark.slow
def test_what_takes_too_long_ends_with_all_its_processes():
    command = ["sh", "-c", "sleep 600 > /dev/null 2>&1 & echo $!; wait"]
    code, output = gpu_session.run_limited(command, 2.0, os.environ)
    assert code == 124
    with suppress(ProcessLookupError):
        assert select.select([os.pidfd_open(int(output))], [], [], 10.0)[0]  # readable once it has ended
    failing = ["sh", "-c", "echo out; echo err >&2; exit 3"]
    assert gpu_session.run_limited(failing, 60.0, os.environ) == (3, "out\nerr\n")


@pytest.mark.slow
def test_the_many_pass_table(tmp_path):
    names = ("music", "weather"), ("travel", "bank", "lights")
    for index, labels in enumerate(names):
        make_model(tmp_path / "runs" / f"teacher-{index + 1}", labels, seed=index, num_hidden_layers=2)
    rows = {"text": texts(24), "label": [(*names[0], *names[1])[i % 5] for i in range(24)]}
    parquet.write_table(table(rows), tmp_path / "runs" / "pool.parquet")
    found = passes.measure(tmp_path / "runs", 20, 200)
    assert found["texts"] == 20
    assert 0 <= found["run_to_128_passes"] <= 20
    assert len(found["rows"]) == 1 + 5 + 3 * 2 + 1 + 5  # two layers: full, last-1, tail, head are possible
    assert {"single pass", "full, K = 16", "tail, K = 16", "full, adaptive 0.85", "full, K = 128"} <= set(found["rows"])
    assert found["rows"]["full, K = 16"]["differs_from_16"] == 0
    assert found["rows"]["full, K = 128"]["differs_from_128"] == 0
    assert "Audit" in passes_tables.table({"tiny": found})
