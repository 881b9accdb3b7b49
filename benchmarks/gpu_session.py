"""Everything a CUDA machine is needed for, in one command of less than eight minutes.

1. The engine on kernels against PyTorch operations, and every kernel against its reference, on the device: the tests
   that use one.
2. Suite ``kernels`` in fp32 and bf16: each kernel against its PyTorch reference and ``torch.compile`` of it.
3. Suite ``scoring``: the engine against its peers and the floor, BERT-base at 128 tokens in bf16 and fp32, and at the
   lengths of questions and of news in bf16.

Writes ``OUT.json``, which ``benchmarks/performance.py`` shows like every result of ``muka-fast bench``, and the same as
tables, ``OUT.txt``, after every row and turn; a row that fails is a line in them, and the exit code 1. Needs torch,
triton, transformers, numpy, pytest.

    python benchmarks/gpu_session.py --out benchmarks/results/bench-gpu-NAME
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from muka_fast.bench.baselines import Workload  # noqa: E402
from muka_fast.bench.results import SCHEMA_VERSION, markdown, settle  # noqa: E402
from muka_fast.bench.suites import kernels, scoring  # noqa: E402
from muka_fast.bench.timer import NO_TIME, MachinePeaks, Suite, measure  # noqa: E402
from muka_fast.runtime.files import atomic_write  # noqa: E402

TESTS = (
    "tests/uncertainty/test_triton_ops.py",
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
    code, output = run_limited(command, limit, alone)
    return {"exit": code, "seconds": time.perf_counter() - started, "tail": output[-6000:]}


def run_limited(command: Sequence[str], limit: float, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command, and end it after ``limit`` seconds with every process it began.

    Returns:
        Its exit code, 124 if it was ended, and its output, with its errors if it failed.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=environment, start_new_session=True
    ) as running:
        try:
            output, errors = running.communicate(timeout=limit)
            code = running.returncode
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            code, (output, errors) = 124, running.communicate()
        finally:
            if running.poll() is None:
                os.killpg(running.pid, signal.SIGKILL)
    return code, output + (errors if code else "")


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


class Session:
    """What is measured, and the files that hold it from the first row on.

    Args:
        out: The files to write, without ending.
        record: What is known before anything is measured.
        ceilings: Of the device.
        started: When the session began, on ``time.perf_counter``'s clock.
        seconds: No row is set up after this long.
    """

    def __init__(
        self,
        out: Path,
        record: dict[str, Any],
        ceilings: MachinePeaks,
        device: torch.device,
        started: float,
        seconds: float,
    ) -> None:
        self.json, self.text = (out.with_name(out.name + ending) for ending in (".json", ".txt"))
        self.record = record | {"suites": {}, "failed": {}}
        self._ceilings, self._device = ceilings, device
        self._started, self._deadline = started, started + seconds
        out.parent.mkdir(parents=True, exist_ok=True)

    def keep(self) -> None:
        """Write what there is."""
        record = self.record
        record["seconds"] = time.perf_counter() - self._started
        settle(record, self._ceilings)
        atomic_write(self.json, (json.dumps(record, indent=2) + "\n").encode())
        tests = record.get("tests", {"exit": "not run", "tail": ""})
        failed = "".join(f"{name} failed: {why}\n" for name, why in record["failed"].items())
        atomic_write(self.text, (f"tests: exit {tests['exit']}\n{tests['tail']}\n{failed}{markdown(record)}").encode())

    def timed(self, name: str, build: Callable[[], Suite], **limits: Any) -> None:
        """Time a suite; a row or a suite that fails is kept as a line, and the next one begins."""
        print(name, flush=True)
        failed, suites = self.record["failed"], self.record["suites"]

        def note(what: str, error: Exception) -> None:
            failed[what] = f"{type(error).__name__}: {error}".splitlines()[0]
            traceback.print_exception(error)

        def keep(suite: Suite, rows: dict[str, dict[str, Any]]) -> None:
            suites[name] = suite.record(rows)
            self.keep()

        try:
            suite = build()
            rows = measure(
                suite,
                self._ceilings,
                self._device,
                deadline=self._deadline,
                failed=lambda row, error: note(f"{name}, {row}", error),
                keep=partial(keep, suite),
                **limits,
            )
        except Exception as error:  # noqa: BLE001 - the session is worth more than its first failure
            note(name, error)
        else:
            for row, found in rows.items():
                if found.get("missing") == NO_TIME:
                    failed[f"{name}, {row}"] = NO_TIME
                if found.get("backend", "triton") != "triton" and "PyTorch" not in row:
                    failed[f"{name}, {row}"] = f"ran on {found['backend']}"
        self.keep()
        with suppress(RuntimeError):  # a device that has failed for good
            torch.cuda.empty_cache()


def main() -> None:
    """Run the session; every row's result is written as soon as it is there."""
    import transformers
    import triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="files to write, without ending")
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--seconds", type=float, default=400.0, help="no row is set up after this long (default: 400)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is visible: this session measures on one")
    started, device = time.perf_counter(), torch.device("cuda")
    known: dict[str, Any] = {
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
    }
    session = Session(args.out, known, MachinePeaks.measure(device), device, started, args.seconds)
    record = session.record
    if not args.skip_tests:
        record["tests"] = run_tests(TEST_LIMIT)
        session.keep()
    timed = partial(session.timed, repeats=5, seconds=20.0, least=1)
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        timed(f"kernels, {name}", partial(kernels.suite, kernels.Shape(), dtype, device))
    model = cache(partial(scoring.made_up, "bert-base", device))
    texts = workloads()
    for name, precision in ((LENGTHS[0], "bf16"), (LENGTHS[0], "fp32"), (LENGTHS[2], "bf16"), (LENGTHS[1], "bf16")):
        workload = Workload(texts[name], TOKENS, device, 16)

        def build(workload: Workload = workload, precision: str = precision) -> Suite:
            return scoring.suite(model(), workload, few=64, precision=precision)

        timed(f"scoring, {name}, {precision}", build)
    print(session.text.read_text(encoding="utf-8"))
    if record["failed"] or record.get("tests", {"exit": 0})["exit"]:
        sys.exit("error: something failed: see above")


if __name__ == "__main__":
    main()
