"""All measurements that need a CUDA machine, in one command of less than eight minutes.

1. The tests that use a device: the engine on kernels against PyTorch operations, every kernel against its reference.
2. Suite ``kernels`` in fp32 and bf16: each kernel against its PyTorch form, eager and under ``torch.compile``.
3. Suite ``scoring``: the engine against its baselines and the roofline, BERT-base at 128 tokens in bf16 and fp32, and
   at the lengths of questions and of news in bf16.

Writes ``OUT.json``, which ``benchmarks/performance.py`` shows like every result of ``muka-fast bench``, and the tables
as ``OUT.txt``, after every case and turn. A case that fails is a line in them, and the exit code is 1. Needs torch,
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
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from muka_fast.bench.baselines import Workload  # noqa: E402
from muka_fast.bench.peaks import MachinePeaks  # noqa: E402
from muka_fast.bench.results import SCHEMA_VERSION, add_roofline  # noqa: E402
from muka_fast.bench.suites import kernels, scoring  # noqa: E402
from muka_fast.bench.tables import markdown  # noqa: E402
from muka_fast.bench.timer import NO_TIME, Limits, Suite, measure  # noqa: E402
from muka_fast.runtime.files import atomic_write  # noqa: E402

TESTS = (
    "tests/uncertainty/test_triton_ops.py",
    "tests/kernels",
    "--ignore=tests/kernels/test_aot.py",  # compiles for other devices
)
TEST_LIMIT = 180
TOKENS = 65536
"""Padded tokens per batch, as in ``muka-fast`` on CUDA."""
LENGTHS = ("128 tokens", "news (about 50 tokens)", "questions (about 11 tokens)")


def run_tests(limit: float) -> dict[str, Any]:
    """Run the test suite on the device in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pytest", "-q", "-rf", "--no-header", "--durations=5"]
    command += ["-p", "no:cacheprovider", "-p", "no:benchmark", *TESTS]
    if importlib.util.find_spec("xdist"):  # most of the time is compilation, on one core per process
        command += ["-n", str(min(16, os.cpu_count() or 1))]
    single_threaded = os.environ | {"OMP_NUM_THREADS": "1"}
    code, output = run_limited(command, limit, single_threaded)
    return {"exit": code, "seconds": time.perf_counter() - started, "tail": output[-6000:]}


def run_limited(command: Sequence[str], limit: float, environment: Mapping[str, str]) -> tuple[int, str]:
    """Run a command, and end it after ``limit`` seconds with all its child processes.

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
    """Return token ids of texts of three lengths: full, news, questions."""
    random = np.random.default_rng(0)

    def sequences(lengths: np.ndarray) -> list[np.ndarray]:
        return [random.integers(1000, 30000, int(length)) for length in lengths]

    lengths = (
        np.full(256, 128),
        np.clip(random.normal(50, 15, 512), 12, 128),
        np.clip(random.normal(11, 4, 2048), 4, 40),
    )
    return {name: sequences(drawn) for name, drawn in zip(LENGTHS, lengths, strict=True)}


class Session:
    """The measurements, and the files that hold them from the first case on.

    Args:
        out: The files to write, without suffix.
        record: The fields that are known before anything is measured.
        peaks: Of the device.
        device: Where the cases run.
        started: When the session began, on ``time.perf_counter``'s clock.
        seconds: No case is set up after this long.
    """

    def __init__(
        self,
        out: Path,
        record: dict[str, Any],
        peaks: MachinePeaks,
        device: torch.device,
        started: float,
        seconds: float,
    ) -> None:
        self.json, self.text = (out.with_name(out.name + suffix) for suffix in (".json", ".txt"))
        self.record = record | {"suites": {}, "failed": {}}
        self._peaks, self._device = peaks, device
        self._started, self._deadline = started, started + seconds
        out.parent.mkdir(parents=True, exist_ok=True)

    def write(self) -> None:
        """Write the measurements so far."""
        record = self.record
        record["seconds"] = time.perf_counter() - self._started
        add_roofline(record, self._peaks)
        atomic_write(self.json, (json.dumps(record, indent=2) + "\n").encode())
        tests = record.get("tests", {"exit": "not run", "tail": ""})
        failed = "".join(f"{name} failed: {reason}\n" for name, reason in record["failed"].items())
        atomic_write(self.text, (f"tests: exit {tests['exit']}\n{tests['tail']}\n{failed}{markdown(record)}").encode())

    def measure(self, name: str, build: Callable[[], Suite], limits: Limits) -> None:
        """Time a suite. A case or a suite that fails is recorded, and the next one begins."""
        print(name, flush=True)
        failed, suites = self.record["failed"], self.record["suites"]

        def record_error(what: str, error: Exception) -> None:
            failed[what] = f"{type(error).__name__}: {error}".splitlines()[0]
            traceback.print_exception(error)

        def update(suite: Suite, cases: dict[str, dict[str, Any]]) -> None:
            suites[name] = suite.record(cases)
            self.write()

        try:
            suite = build()
            cases = measure(
                suite,
                self._peaks,
                self._device,
                replace(limits, deadline=self._deadline),
                log=lambda line: print(line, file=sys.stderr, flush=True),
                on_error=lambda case, error: record_error(f"{name}, {case}", error),
                on_update=partial(update, suite),
            )
        except Exception as error:  # noqa: BLE001 - a failure must not end the session
            record_error(name, error)
        else:
            for case, found in cases.items():
                if found.get("missing") == NO_TIME:
                    failed[f"{name}, {case}"] = NO_TIME
                if found.get("backend", "triton") != "triton" and "PyTorch" not in case:
                    failed[f"{name}, {case}"] = f"ran on {found['backend']}"
        self.write()
        with suppress(RuntimeError):  # the device may have failed permanently
            torch.cuda.empty_cache()


def main() -> None:
    """Run the session; the result of every case is written at once."""
    import transformers
    import triton

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="files to write, without suffix")
    parser.add_argument("--skip-tests", action="store_true")
    parser.add_argument("--seconds", type=float, default=400.0, help="no case is set up after this long (default: 400)")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("no CUDA device is visible: this session needs one")
    started, device = time.perf_counter(), torch.device("cuda")
    machine: dict[str, Any] = {
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
    session = Session(args.out, machine, MachinePeaks.measure(device), device, started, args.seconds)
    record = session.record
    if not args.skip_tests:
        record["tests"] = run_tests(TEST_LIMIT)
        session.write()
    limits = Limits(turns=5, seconds=20.0, min_turns=1)
    for dtype in (torch.bfloat16, torch.float32):
        name = str(dtype).removeprefix("torch.")
        session.measure(f"kernels, {name}", partial(kernels.build_suite, kernels.Shape(), dtype, device), limits)
    model = cache(partial(scoring.random_bert, "bert-base", device))
    texts = workloads()
    for name, precision in ((LENGTHS[0], "bf16"), (LENGTHS[0], "fp32"), (LENGTHS[2], "bf16"), (LENGTHS[1], "bf16")):
        workload = Workload(texts[name], TOKENS, device, 16)

        def build(workload: Workload = workload, precision: str = precision) -> Suite:
            return scoring.build_suite(model(), workload, baseline_texts=64, precision=precision)

        session.measure(f"scoring, {name}, {precision}", build, limits)
    print(session.text.read_text(encoding="utf-8"))
    if record["failed"] or record.get("tests", {"exit": 0})["exit"]:
        sys.exit("error: something failed: see above")


if __name__ == "__main__":
    main()
