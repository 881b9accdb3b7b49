"""Suite ``scaling``: how cost grows with passes, teachers, texts, their length and processes; memory against the pool.

Every curve of time has its exponent: the slope of log cost over log size, 1 where cost is proportional, 0 where it does
not grow. Memory, of which most is there before the first text, has its growth in bytes a text. ``processes`` is the
time of ``muka-fast score`` without the start of Python; on a CPU they share its cores.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.bench import baselines
from muka_fast.bench.baselines import Workload
from muka_fast.bench.inputs import Material
from muka_fast.bench.subprocesses import Finished, run
from muka_fast.bench.timer import Run, synchronise
from muka_fast.config.recipe import UncertaintySpec
from muka_fast.data.corpus import Corpus
from muka_fast.scoring.teacher_pool import TeacherPool

PASSES, LENGTHS, PROCESSES = (1, 2, 4, 8, 16), (8, 16, 32, 64, 128), (1, 2)
TOKENS = 2048
"""Of the made-up texts of each length."""
POOLS = (1000, 4000, 16000)
"""Texts of the pools that memory is measured with."""
SHARDS = 2
"""Of a teacher, for each process."""
MEMORY = "memory, texts"
"""Name of their curve."""


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Return the least-squares slope of log cost over log size."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def of_material(material: Material, *, repeats: int = 3, pools: Sequence[int] = POOLS) -> dict[str, Any]:
    """Measure every curve.

    Args:
        material: Teachers and texts.
        repeats: Turns of what runs in this process.
        pools: Texts of the pools that memory is measured with.
    """
    curves = {
        "passes": _passes(material),
        "length": _lengths(material),
        "teachers": _teachers(material),
        "texts": _texts(material),
    }
    rows: dict[str, dict[str, Any]] = {}
    exponents: dict[str, float] = {}
    for name, runs in curves.items():
        costs = _timed(runs, repeats, material)
        exponents[name] = exponent(list(costs), list(costs.values()))
        rows |= {f"{name} = {size:g}": {"seconds": cost, "curve": name, "size": size} for size, cost in costs.items()}
    processes, memory = _processes(material), _memory(material, pools)
    if len(processes) > 1:
        exponents["processes"] = exponent(list(processes), [_seconds(done) for done in processes.values()])
    for name, found in (("processes", processes), (MEMORY, memory)):
        for size, done in found.items():
            kept = {"seconds": _seconds(done), "peak_bytes": done.peak_bytes, "curve": name, "size": size}
            rows[f"{name} = {size:g}"] = kept
    settings = {
        "texts": len(material.corpus),
        "passes": material.passes,
        "exponents": exponents,
        "bytes_a_text": float(np.polyfit(list(memory), [done.peak_bytes for done in memory.values()], 1)[0]),
    }
    return {"unit": "run", "against": [], "settings": settings, "rows": rows}


def _seconds(done: Finished) -> float:
    """Return what ``muka-fast score`` says it took; with several processes, the launcher's output stands around it."""
    line = next(line for line in done.output.splitlines() if line.startswith("{"))
    return float(json.loads(line)["seconds"])


def _timed(runs: dict[float, Run], repeats: int, material: Material) -> dict[float, float]:
    taken: dict[float, list[float]] = {size: [] for size in runs}
    for one in runs.values():
        one()  # warm up
    for _ in range(repeats):
        for size, one in runs.items():
            started = time.perf_counter()
            one()
            synchronise(material.device)
            taken[size].append(time.perf_counter() - started)
    return {size: statistics.median(values) for size, values in taken.items()}


def _passes(material: Material) -> dict[float, Run]:
    whole = material.workload()
    found: dict[float, Run] = {}
    for count in PASSES:
        found[float(count)] = baselines.EngineRun(
            material.model, Workload(whole.rows, whole.budget, whole.device, count)
        )
    return found


def _lengths(material: Material) -> dict[float, Run]:
    """Return a run a length, each of as many tokens: what is left of growth is attention's."""
    random, model = np.random.default_rng(0), material.model
    longest = min(
        getattr(model.config, "max_position_embeddings", 512) - 2,
        material.described[0].max_length if material.teachers else 512,
    )
    found: dict[float, Run] = {}
    budget = material.workload().budget
    for length in (length for length in LENGTHS if length <= longest):
        rows = [random.integers(1, model.config.vocab_size, length) for _ in range(max(1, TOKENS // length))]
        found[float(length)] = baselines.EngineRun(model, Workload(rows, budget, material.device, 4))
    return found


def _teachers(material: Material) -> dict[float, Run]:
    count = len(material.teachers)
    return {float(number): _score(material, material.corpus, range(number)) for number in range(1, count + 1)}


def _texts(material: Material) -> dict[float, Run]:
    size = len(material.corpus)
    parts = sorted({max(1, size // share) for share in (8, 4, 2, 1)})
    return {float(part): _score(material, material.corpus.take(np.arange(part)), range(1)) for part in parts}


def _score(material: Material, corpus: Corpus, indices: range) -> Callable[[], None]:
    settings = UncertaintySpec(passes=material.passes, inject_dropout=material.inject_dropout)
    room = TeacherPool(material.described, settings, 0, material.device)

    def one() -> None:
        for index in indices:
            loaded = room.teacher(index)
            loaded.score(corpus, loaded.tokenize(corpus), material.passes, lambda _: None)

    return one


def _processes(material: Material) -> dict[float, Finished]:
    most = torch.cuda.device_count() if material.device.type == "cuda" else max(PROCESSES)
    counts = [count for count in PROCESSES if count <= most]
    size = max(1, len(material.corpus) // (SHARDS * max(counts)))  # processes share shards
    return {float(count): _store(material, material.corpus.texts, count, material.passes, size) for count in counts}


def _memory(material: Material, pools: Sequence[int]) -> dict[float, Finished]:
    """Score pools of the same texts, numbered so that they differ, with the deterministic pass."""
    some = material.corpus.texts
    found = {}
    for size in pools:
        texts = [f"{some[index % len(some)]} {index}" for index in range(size)]
        found[float(size)] = _store(material, texts, 1, 0, UncertaintySpec().shard_size)
    return found


def _store(material: Material, texts: Sequence[str], processes: int, passes: int, shard_size: int) -> Finished:
    """Run ``muka-fast score`` in processes of its own."""
    with tempfile.TemporaryDirectory() as place:
        work = Path(place)
        recipe = material.write_recipe(
            work,
            texts,
            student=str(material.described[0].checkpoint.folder),  # not used
            uncertainty={"passes": passes, "adaptive": False, "shard_size": shard_size},
            selection={"method": "muka", "trust": "predictive-entropy"} if passes else {"method": "pool"},
        )
        started = ["-m", "muka_fast"]
        if processes > 1:
            started = ["-m", "torch.distributed.run", "--nproc-per-node", str(processes), *started]
        return run([*started, "score", str(recipe), "--json"], f"suite scaling, {processes} process(es)")
