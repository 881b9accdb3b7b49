"""Everything a CUDA machine is needed for, in one command of less than eight minutes.

1. Every kernel against its reference, and the engine on kernels against PyTorch operations, on the device (the test
   suite of ``tests/kernels`` and of the engines).
2. Suite ``kernels`` in fp32 and bf16: each kernel against its PyTorch reference and ``torch.compile`` of it.
3. Suite ``scoring``: the engine against its peers and the floor, BERT-base at 128 tokens and at the lengths of news and
   of questions.

Writes ``OUT.json``, which ``benchmarks/performance.py`` shows like every result of ``muka-fast bench``, and the same as
tables, ``OUT.txt``. Needs torch, triton, transformers, numpy, pytest.

    python benchmarks/gpu_session.py --out benchmarks/results/bench-gpu
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from muka_fast.bench import kernels, scoring  # noqa: E402
from muka_fast.bench.results import SCHEMA_VERSION, ceilings_record, markdown  # noqa: E402
from muka_fast.bench.timing import Ceilings, Suite, measure  # noqa: E402
from muka_fast.bench.ways import Workload  # noqa: E402

SUITES = (
    "tests/kernels",
    "tests/uncertainty/test_engines.py",
    "tests/uncertainty/test_fused.py",
)
TIME_LIMIT = 470


def run_tests(limit: float) -> dict[str, Any]:
    """Run the test suite on the device in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-p", "no:cacheprovider", *SUITES]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
        code, output = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else str(error.stdout)
    return {"exit": code, "seconds": time.perf_counter() - started, "tail": output[-6000:]}


def workloads() -> dict[str, list[np.ndarray]]:
    """Token ids of three lengths of text: full, news, questions."""
    random = np.random.default_rng(0)

    def rows(lengths: np.ndarray) -> list[np.ndarray]:
        return [random.integers(1000, 30000, int(length)) for length in lengths]

    return {
        "128 tokens": rows(np.full(256, 128)),
        "news (about 50 tokens)": rows(np.clip(random.normal(50, 15, 512), 12, 128)),
        "questions (about 11 tokens)": rows(np.clip(random.normal(11, 4, 2048), 4, 40)),
    }


def main() -> None:
    """Run the session; every part's result is written as soon as it is there."""
    import transformers
    import triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="files to write, without ending")
    parser.add_argument("--skip-tests", action="store_true")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is visible: this session measures on one")
    started, device = time.perf_counter(), torch.device("cuda")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    shape = kernels.Shape()
    ceilings = Ceilings.measure(shape.width, shape.inner, device, 2**28)
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "bench",
        "device": torch.cuda.get_device_name(),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "triton": triton.__version__,
            "transformers": transformers.__version__,
            "cuda": torch.version.cuda,
        },
        "ceilings": ceilings_record(ceilings, (shape.width, shape.inner)),
        "suites": {},
    }

    def keep() -> None:
        record["seconds"] = time.perf_counter() - started
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        tests = record.get("tests", {"exit": "not run", "tail": ""})
        shown = f"tests: exit {tests['exit']}\n{tests['tail']}\n{markdown(record)}"
        args.out.with_suffix(".txt").write_text(shown, encoding="utf-8")
        print(shown, flush=True)

    def timed(name: str, suite: Suite, seconds: float) -> None:
        rows = measure(suite, ceilings, device, repeats=5, seconds=seconds)
        found = {"unit": suite.unit, "against": list(suite.against), "settings": suite.settings, "rows": rows}
        record["suites"][name] = found
        record["ceilings"] = ceilings_record(ceilings, (shape.width, shape.inner))
        keep()

    if not args.skip_tests:
        record["tests"] = run_tests(200)
        keep()
    for dtype in (torch.float32, torch.bfloat16):
        name = str(dtype).removeprefix("torch.")
        timed(f"kernels, {name}", kernels.suite(shape, dtype, device), 60.0)
    model = scoring.made_up("bert-base", device)
    for name, rows in workloads().items():
        left = TIME_LIMIT - (time.perf_counter() - started)
        if left < 40:
            break
        timed(f"scoring, {name}", scoring.suite(model, Workload(rows, 65536, device, 16), few=64), min(90.0, left / 2))


if __name__ == "__main__":
    main()
