"""Suite ``serving``: a student in ONNX forms beside PyTorch, the Hugging Face pipeline and Optimum, interleaved.

Requests of 1 to 128 texts, in the order of the texts and at their real lengths, are answered one at a time, from
strings to class names; then each runtime gets all texts at once. Each runtime has a process of its own, like a service,
and waits for input while another one is timed. All runtimes serve the same student. The graphs are exported here and
pass the same parity check as those of ``muka-fast export``. A runtime that is not installed is a missing case.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.server import Server
from muka_fast.bench.serving_runtimes import Runtime, find_runtimes
from muka_fast.bench.tables import case_name
from muka_fast.bench.timer import Limits
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.label_space import match_labels

FUSED = "ONNX fp32, fused"


REQUESTS, QUICK_REQUESTS = {1: 100, 8: 40, 32: 12, 128: 4}, {1: 20, 8: 8, 32: 2}
"""Number of requests of a turn, by their number of texts."""
SECONDS, LEAST_TURNS = 45.0, 2
"""No further turn begins after this long; so many turns are made anyway."""


def measure_suite(
    inputs: BenchmarkInputs,
    limits: Limits,
    *,
    quick: bool = False,
    only: Sequence[str] | None = None,
    log: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure the trained student on its labelled texts, or on its unlabelled ones.

    Args:
        inputs: A trained student and texts; with labels, accuracies are measured over the texts of classes it knows.
        limits: When the turns end; 45 seconds after the first one began at the latest.
        quick: Fewer runtimes and requests.
        only: Names of the runtimes to measure; default: all.
        log: Receives a line when a runtime is ready.

    Returns:
        The suite's entry in the results.
    """
    assert inputs.trained is not None, "require_inputs has checked it"
    folder, corpus = Path(inputs.trained), inputs.corpus
    if inputs.labelled is not None:
        corpus = read_corpus(inputs.labelled, with_labels=True, distinct=False)
        corpus = corpus.take(np.arange(min(10 * inputs.count, len(corpus))))
    requests = {texts: n for texts, n in (QUICK_REQUESTS if quick else REQUESTS).items() if texts <= len(corpus)}
    limits = replace(
        limits, seconds=min(limits.seconds, SECONDS), min_turns=min(limits.turns, LEAST_TURNS, limits.min_turns)
    )
    with tempfile.TemporaryDirectory() as place:
        runtimes = find_runtimes(folder, Path(place), inputs.corpus, quick=quick)
        runtimes = {name: runtime for name, runtime in runtimes.items() if only is None or name in only}
        servers, cases = _start(runtimes, folder, corpus, requests, log)
        seconds = _send_requests(servers, corpus.texts, requests, limits)
        starts = [start_seconds(Path(place) / "fused") for _ in range(limits.turns if FUSED in servers else 0)]
    for (name, count), values in seconds.items():
        cases[case_name(name, count)] |= _case(values, count or len(corpus))
    settings = {
        "texts": len(corpus),
        "runtimes": list(runtimes),
        "batches": list(requests),
        "device": "cpu",
        "start_seconds": statistics.median(starts) if starts else None,
    }
    return {"unit": "text", "baselines": [], "settings": settings, "cases": cases}


def _start(
    runtimes: Mapping[str, Runtime | str],
    folder: Path,
    corpus: Corpus,
    requests: Iterable[int],
    log: Callable[[str], None],
) -> tuple[dict[str, Server], dict[str, dict[str, Any]]]:
    """Start and warm up a server per runtime; return the servers and the cases, with sizes and accuracies."""
    servers: dict[str, Server] = {}
    cases: dict[str, dict[str, Any]] = {}
    for name, runtime in runtimes.items():
        if isinstance(runtime, str):
            cases[name] = {"missing": runtime}
            continue
        server = Server(runtime.set_up, name)
        if server.missing:
            cases[name] = {"missing": server.missing}
            continue
        for count in requests:  # warm up, compile
            server.answer(corpus.texts[:count])
        servers[name] = server
        accuracy = _accuracy(folder, server.answer(corpus.texts)[0], corpus)
        for count in (*requests, 0):
            cases[case_name(name, count)] = {"bytes": runtime.bytes, "accuracy": accuracy}
        log(f"  {name}: ready")
    return servers, cases


def _send_requests(
    servers: Mapping[str, Server], texts: Sequence[str], requests: Mapping[int, int], limits: Limits
) -> dict[tuple[str, int], list[float]]:
    """Return the seconds of every request, by runtime and texts per request, 0 for all at once."""
    seconds: dict[tuple[str, int], list[float]] = {(name, count): [] for name in servers for count in (*requests, 0)}
    random, started = np.random.default_rng(0), time.perf_counter()
    for turn in range(limits.turns):
        if limits.are_reached(turn, (now := time.perf_counter()) - started, now):
            break
        starts = {count: random.integers(0, len(texts) - count + 1, number) for count, number in requests.items()}
        for name, server in servers.items():
            for count, places in starts.items():
                server.answer(texts[:count])  # its process has slept
                for start in places:
                    seconds[name, count].append(server.answer(texts[start : start + count])[1])
            seconds[name, 0].append(server.answer(texts)[1])
    return seconds


def _case(seconds: Sequence[float], size: int) -> dict[str, Any]:
    """Return the figures of requests of ``size`` texts."""
    median = statistics.median(seconds)
    p50, p95, p99 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.95, 0.99))
    return {
        "seconds": median / size,
        "quartiles": [float(value) / size for value in np.quantile(seconds, [0.25, 0.75])],
        "repeats": len(seconds),
        "per_second": size / median,
        "p50_ms": p50,
        "p95_ms": p95,
        "p99_ms": p99,
    }


def _accuracy(folder: Path, labels: Sequence[str], corpus: Corpus) -> float | None:
    """Return the accuracy on the texts of classes that the student knows; None without labels."""
    if corpus.labels is None:
        return None
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = [str(config["id2label"][str(column)]) for column in range(len(config["id2label"]))]
    truth, _ = match_labels(names, corpus.labels, where="the labelled texts")
    hits = np.array([names.index(label) for label in labels]) == truth
    return float(hits[truth >= 0].mean())


def start_seconds(folder: Path) -> float:
    """Return the seconds from the import of the exported classifier in a fresh Python to its first answer."""
    code = (
        "import sys, time; started = time.perf_counter()\n"
        "from muka_fast.export import OnnxClassifier\n"
        f"OnnxClassifier({str(folder)!r}, device='cpu').classify(['hi'])\n"
        "sys.stdout.write(str(time.perf_counter() - started))"
    )
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
