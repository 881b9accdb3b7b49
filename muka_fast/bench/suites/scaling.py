"""Suite ``scaling``: how cost grows with passes, teachers, texts, their length and processes; memory with the pool.

Every curve of time has an exponent: the slope of log cost over log size, 1 where cost is proportional, 0 where it does
not grow. Memory, most of which is in use before the first text, has its growth in bytes per text. ``processes`` is the
time of ``muka-fast score`` without the start of Python; on a CPU they share its cores.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.bench import baselines
from muka_fast.bench.baselines import Workload
from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.peaks import synchronise
from muka_fast.bench.subprocesses import CommandRunner, FinishedCommand, run_command
from muka_fast.bench.timer import Run
from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.corpus import Corpus
from muka_fast.scoring.score_pool import SHARD_SIZE
from muka_fast.scoring.teacher_pool import TeacherPool

TOKENS = 2048
"""Tokens of the random texts of each length together."""
SHARDS_PER_PROCESS = 2
"""Shards of a teacher per process."""
MEMORY = "memory, texts"
"""Name of the curve of memory."""


@dataclass(frozen=True)
class Sizes:
    """Points of the curves.

    Attributes:
        passes: Values of K.
        lengths: Tokens per text.
        processes: Numbers of processes.
        pools: Numbers of texts that memory is measured with.
    """

    passes: Sequence[int] = (1, 2, 4, 8, 16)
    lengths: Sequence[int] = (8, 16, 32, 64, 128)
    processes: Sequence[int] = (1, 2)
    pools: Sequence[int] = (1000, 4000, 16000)


DEFAULT_SIZES = Sizes()


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the least-squares slope of log cost over log size."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def measure_suite(
    inputs: BenchmarkInputs, *, repeats: int = 3, sizes: Sizes = DEFAULT_SIZES, runner: CommandRunner = run_command
) -> dict[str, Any]:
    """Measure every curve; return the suite's entry in the results.

    Args:
        inputs: Teachers and texts.
        repeats: Turns of what runs in this process.
        sizes: Points of the curves.
        runner: Runs a command.
    """
    curves = {
        "passes": _passes(inputs, sizes.passes),
        "length": _lengths(inputs, sizes.lengths),
        "teachers": _teachers(inputs),
        "texts": _texts(inputs),
    }
    cases: dict[str, dict[str, Any]] = {}
    exponents: dict[str, float] = {}
    for name, runs in curves.items():
        costs = _median_seconds(runs, repeats, inputs.device)
        exponents[name] = exponent(list(costs), list(costs.values()))
        cases |= {f"{name} = {size:g}": {"seconds": cost, "curve": name, "size": size} for size, cost in costs.items()}
    processes = _processes(inputs, sizes.processes, runner)
    memory = _memory(inputs, sizes.pools, runner)
    if len(processes) > 1:
        exponents["processes"] = exponent(list(processes), [score_seconds(done) for done in processes.values()])
    for name, commands in (("processes", processes), (MEMORY, memory)):
        for size, done in commands.items():
            case = {"seconds": score_seconds(done), "peak_bytes": done.peak_bytes, "curve": name, "size": size}
            cases[f"{name} = {size:g}"] = case
    settings = {
        "texts": len(inputs.corpus),
        "passes": inputs.passes,
        "exponents": exponents,
        "bytes_per_text": float(np.polyfit(list(memory), [done.peak_bytes for done in memory.values()], 1)[0]),
    }
    return {"unit": "run", "baselines": [], "settings": settings, "cases": cases}


def score_seconds(done: FinishedCommand) -> float:
    """Return the seconds that ``muka-fast score`` printed; a launcher of several processes may print other lines."""
    line = next(line for line in done.output.splitlines() if line.startswith("{"))
    return float(json.loads(line)["seconds"])


def _median_seconds(runs: dict[float, Run], repeats: int, device: torch.device) -> dict[float, float]:
    seconds: dict[float, list[float]] = {size: [] for size in runs}
    for run in runs.values():
        run()  # warm up
    for _ in range(repeats):
        for size, run in runs.items():
            started = time.perf_counter()
            run()
            synchronise(device)
            seconds[size].append(time.perf_counter() - started)
    return {size: statistics.median(values) for size, values in seconds.items()}


def _passes(inputs: BenchmarkInputs, counts: Sequence[int]) -> dict[float, Run]:
    whole = inputs.workload()
    return {
        float(count): baselines.EngineRun(inputs.model, Workload(whole.sequences, whole.budget, whole.device, count))
        for count in counts
    }


def _lengths(inputs: BenchmarkInputs, lengths: Sequence[int]) -> dict[float, Run]:
    """Return a run per length, each with the same number of tokens: the growth that is left is that of attention."""
    random, model = np.random.default_rng(0), inputs.model
    max_length = min(
        getattr(model.config, "max_position_embeddings", 512) - 2,
        inputs.described[0].max_length if inputs.teachers else 512,
    )
    budget = inputs.workload().budget
    runs: dict[float, Run] = {}
    for length in (length for length in lengths if length <= max_length):
        sequences = [random.integers(1, model.config.vocab_size, length) for _ in range(max(1, TOKENS // length))]
        runs[float(length)] = baselines.EngineRun(model, Workload(sequences, budget, inputs.device, 4))
    return runs


def _teachers(inputs: BenchmarkInputs) -> dict[float, Run]:
    counts = range(1, len(inputs.teachers) + 1)
    return {float(count): _score(inputs, inputs.corpus, count) for count in counts}


def _texts(inputs: BenchmarkInputs) -> dict[float, Run]:
    count = len(inputs.corpus)
    counts = sorted({max(1, count // divisor) for divisor in (8, 4, 2, 1)})
    return {float(part): _score(inputs, inputs.corpus.take(np.arange(part)), 1) for part in counts}


def _score(inputs: BenchmarkInputs, corpus: Corpus, teachers: int) -> Callable[[], None]:
    settings = UncertaintySpec(passes=inputs.passes, inject_dropout=inputs.inject_dropout)
    pool = TeacherPool(inputs.described[:teachers], settings, 0, inputs.device)

    def run() -> None:
        for index in range(len(pool)):
            with pool.teacher(index) as runner:
                runner.score(corpus, runner.tokenize(corpus), inputs.passes, lambda _: None)

    return run


def _processes(
    inputs: BenchmarkInputs, processes: Sequence[int], runner: CommandRunner
) -> dict[float, FinishedCommand]:
    limit = torch.cuda.device_count() if inputs.device.type == "cuda" else max(processes)
    counts = [count for count in processes if count <= limit]
    shard_size = max(1, len(inputs.corpus) // (SHARDS_PER_PROCESS * max(counts)))  # processes share shards
    return {
        float(count): _score_command(inputs, inputs.corpus.texts, count, inputs.passes, shard_size, runner)
        for count in counts
    }


def _memory(inputs: BenchmarkInputs, pools: Sequence[int], runner: CommandRunner) -> dict[float, FinishedCommand]:
    """Score pools of the same texts, numbered so that they differ, with the deterministic pass."""
    texts, shard_size = inputs.corpus.texts, SHARD_SIZE
    commands = {}
    for size in pools:
        pool = [f"{texts[index % len(texts)]} {index}" for index in range(size)]
        commands[float(size)] = _score_command(inputs, pool, 1, 0, shard_size, runner)
    return commands


def _score_command(
    inputs: BenchmarkInputs, texts: Sequence[str], processes: int, passes: int, shard_size: int, runner: CommandRunner
) -> FinishedCommand:
    """Run ``muka-fast score`` in processes of its own."""
    with tempfile.TemporaryDirectory() as place:
        recipe = inputs.write_recipe(
            Path(place),
            texts,
            student=str(inputs.described[0].checkpoint.folder),  # a recipe needs one, score does not read it
            uncertainty={"passes": passes, "adaptive": False, "shard_size": shard_size},
            selection={"method": "muka", "trust": "predictive-entropy"} if passes else {"method": "pool"},
        )
        launcher = ["-m", "muka_fast"]
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), *launcher]
        return runner([*launcher, "score", str(recipe), "--json"], f"suite scaling, {processes} process(es)")
