"""Everything a CUDA machine is needed for, in one command of less than eight minutes.

1. The engine on kernels against PyTorch operations, and every kernel against its reference, on the device: the tests
   that use one.
2. Suite ``kernels`` in fp32 and bf16: each kernel against its PyTorch reference and ``torch.compile`` of it.
3. Suite ``scoring``: the engine against its peers and the floor, BERT-base at 128 tokens in bf16 and fp32, and at the
   lengths of questions and of news in bf16.

Writes ``OUT.json``, which ``benchmarks/performance.py`` shows like every result of ``muka-fast bench``, and the same as
tables, ``OUT.txt``, after every part; a part that fails is a line in them, and the exit code 1. Needs torch, triton,
transformers, numpy, pytest.

    python benchmarks/gpu_session.py --out benchmarks/results/bench-gpu-NAME
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from muka_fast.bench import kernels, scoring  # noqa: E402
from muka_fast.bench.results import SCHEMA_VERSION, markdown, settle  # noqa: E402
from muka_fast.bench.timing import NO_TIME, Ceilings, Suite, measure  # noqa: E402
from muka_fast.bench.ways import Workload  # noqa: E402

TESTS = (
    "tests/uncertainty/test_fused.py",
    "tests/kernels",
    "--ignore=tests/kernels/test_aot.py",  # compiles for other devices
)
TEST_LIMIT = 180
TOKENS = 65536
"""Of a batch, as ``muka-fast`` takes on CUDA."""
LENGTHS = ("128 tokens", "news (about 50 tokens)", "questions (about 11 tokens)")


def run_tests(limit: float) -> dict[str, Any]:
    """Run the test suite on the device in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--no-header", "--durations=5"]
    command += ["-p", "no:cacheprovider", "-p", "no:benchmark", *TESTS]
    if importlib.util.find_spec("xdist"):  # most of the time goes into compiling, on one core a process
        command += ["-n", str(min(16, os.cpu_count() or 1))]
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False, env=alone)
        code, output = done.returncode, done.stdout + (done.stderr if done.returncode else "")
    except subprocess.TimeoutExpired as error:
        code, output = 124, (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else str(error.stdout)
    return {"exit": code, "seconds": time.perf_counter() - started, "tail": output[-6000:]}


def workloads() -> dict[str, list[np.ndarray]]:
    """Token ids of three lengths of text: full, news, questions."""
    random = np.random.default_rng(0)

    def rows(lengths: np.ndarray) -> list[np.ndarray]:
        return [random.integers(1000, 30000, int(length)) for length in lengths]

    drawn = (
        np.full(256, 128),
        np.clip(random.normal(50, 15, 512), 12, 128),
        np.clip(random.normal(11, 4, 2048), 4, 40),
    )
    return {name: rows(lengths) for name, lengths in zip(LENGTHS, drawn, strict=True)}


def main() -> None:
    """Run the session; every part's result is written as soon as it is there."""
    import transformers
    import triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="files to write, without ending")
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--seconds", type=float, default=450.0, help="no suite is begun after this long (default: 450)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is visible: this session measures on one")
    started, device = time.perf_counter(), torch.device("cuda")
    deadline = started + args.seconds
    args.out.parent.mkdir(parents=True, exist_ok=True)
    ceilings = Ceilings.measure(device)
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
        "suites": {},
        "failed": {},
    }

    def keep() -> None:
        record["seconds"] = time.perf_counter() - started
        settle(record, ceilings)
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        tests = record.get("tests", {"exit": "not run", "tail": ""})
        failed = "".join(f"{name} failed: {why}\n" for name, why in record["failed"].items())
        shown = f"tests: exit {tests['exit']}\n{tests['tail']}\n{failed}{markdown(record)}"
        args.out.with_suffix(".txt").write_text(shown, encoding="utf-8")

    def timed(name: str, build: Callable[[], Suite]) -> None:
        """Time a suite; what fails is kept as a line, and the next one begins."""
        print(name, flush=True)
        try:
            suite = build()
            rows = measure(suite, ceilings, device, repeats=5, seconds=20.0, least=1, deadline=deadline)
        except Exception as error:  # noqa: BLE001 - the session is worth more than its first failure
            record["failed"][name] = f"{type(error).__name__}: {error}".splitlines()[0]
            traceback.print_exc()
        else:
            record["suites"][name] = suite.record(rows)
            for row, found in rows.items():
                if found.get("missing") == NO_TIME:
                    record["failed"][f"{name}, {row}"] = NO_TIME
                if found.get("backend", "triton") != "triton" and "PyTorch" not in row:
                    record["failed"][f"{name}, {row}"] = f"ran on {found['backend']}"
        keep()
        torch.cuda.empty_cache()

    if not args.skip_tests:
        record["tests"] = run_tests(TEST_LIMIT)
        keep()
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        timed(f"kernels, {name}", partial(kernels.suite, kernels.Shape(), dtype, device))
    model = scoring.made_up("bert-base", device)
    texts = workloads()
    for name, precision in ((LENGTHS[0], "bf16"), (LENGTHS[0], "fp32"), (LENGTHS[2], "bf16"), (LENGTHS[1], "bf16")):
        workload = Workload(texts[name], TOKENS, device, 16)
        build = partial(scoring.suite, model, workload, few=64, precision=precision)
        timed(f"scoring, {name}, {precision}", build)
    print(args.out.with_suffix(".txt").read_text(encoding="utf-8"))
    if record["failed"] or record.get("tests", {"exit": 0})["exit"]:
        sys.exit("error: something failed: see above")


if __name__ == "__main__":
    main()
