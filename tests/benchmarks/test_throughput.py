"""The benchmark of passes at tiny sizes, and the CUDA session's parts."""

import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu_session
import passes


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
