"""The suites by name: their inputs checked, run one after the other, the results written after each."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from muka_fast.bench.baselines import REFERENCE_BATCH
from muka_fast.bench.inputs import BenchmarkInputs
from muka_fast.bench.peaks import MachinePeaks
from muka_fast.bench.results import SCHEMA_VERSION, add_roofline, require_same
from muka_fast.bench.suites import end_to_end, kernels, pools, scaling, scoring, serving, training
from muka_fast.bench.tables import markdown
from muka_fast.bench.timer import MIN_TURNS, Limits, Suite, measure
from muka_fast.errors import OutputError, RecipeError
from muka_fast.runtime.environment import OPTIONAL, PACKAGES, device_name, versions
from muka_fast.runtime.files import atomic_write

SUITES = ("scoring", "pools", "training", "serving", "kernels", "scaling", "end-to-end")
DEFAULT_SUITES = SUITES[:5]
QUICK_TEXTS, QUICK_PASSES, QUICK_TURNS, QUICK_SECONDS = 64, 4, 2, 5.0
QUICK_MATMUL = (512, 768, 3072)
"""Shape of the product that a CPU's peak is measured with."""
BASELINE_PACKAGES = ("torch-uncertainty", "baal")


@dataclass(frozen=True)
class RunSettings:
    """How much is measured.

    Attributes:
        quick: Fewer texts, passes, cases and turns: under a minute with small models.
        turns: Turns of every case.
        seconds: No further turn of a suite begins after this long; three are made anyway (``quick``: one).
        baseline_texts: ``end-to-end``: texts that the MUKI reference runs on.
    """

    quick: bool = False
    turns: int = 5
    seconds: float = 180.0
    baseline_texts: int = 500

    def limits(self) -> Limits:
        """Return the limits of the timing of a suite."""
        if self.quick:
            return Limits(min(self.turns, QUICK_TURNS), min(self.seconds, QUICK_SECONDS), min_turns=1)
        return Limits(self.turns, self.seconds, MIN_TURNS)


DEFAULT_SETTINGS = RunSettings()


def run_suites(
    inputs: BenchmarkInputs,
    suites: Sequence[str],
    settings: RunSettings = DEFAULT_SETTINGS,
    *,
    earlier: dict[str, Any] | None = None,
    log: Callable[[str], None] = lambda _: None,
    on_update: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure suites.

    Args:
        inputs: Models and texts.
        suites: Names among ``SUITES``.
        settings: How much is measured.
        earlier: Results to be compared with. Those of another device are refused before anything is measured.
        log: Receives a line at the start of every suite, and when a case is ready.
        on_update: Receives the results after every suite.

    Raises:
        RecipeError: If there is no such suite, its inputs are missing, or ``earlier`` is of another device.
    """
    for name in suites:
        require_inputs(inputs, name)
    quick = settings.quick
    if quick:
        inputs = replace(inputs, count=min(inputs.count, QUICK_TEXTS), passes=min(inputs.passes, QUICK_PASSES))
    entries: dict[str, Any] = {}
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "bench",
        "device": device_name(inputs.device),
        "threads": torch.get_num_threads(),
        "versions": versions((*PACKAGES, *OPTIONAL, *BASELINE_PACKAGES)),
        "quick": quick,
        "suites": entries,
    }
    if earlier is not None:
        require_same(results, earlier, ("device", "quick"), "--compare")
    fast = quick and inputs.device.type == "cpu"
    peaks, limits = MachinePeaks.measure(inputs.device, QUICK_MATMUL if fast else None), settings.limits()

    def timed(suite: Suite) -> dict[str, Any]:
        return suite.record(measure(suite, peaks, inputs.device, limits, log=log))

    for name in suites:
        log(f"suite {name}")
        if name == "serving":
            entries[name] = serving.measure_suite(inputs, limits, quick=quick, log=log)
        elif name == "scaling":
            entries[name] = scaling.measure_suite(inputs, repeats=limits.turns)
        elif name == "end-to-end":
            entries[name] = end_to_end.measure_suite(inputs, baseline_texts=settings.baseline_texts)
        else:
            for title, build in _suite_builders(name, inputs, quick).items():
                entries[title] = timed(build())
        add_roofline(results, peaks)
        on_update(results)
    return results


def _suite_builders(name: str, inputs: BenchmarkInputs, quick: bool) -> dict[str, Callable[[], Suite]]:
    """Return a builder per suite of interleaved cases; scoring and kernels are one suite per precision."""
    if name == "scoring":
        build, model, workload = scoring.build_suite, inputs.model, inputs.workload()
        return {
            _title(name, precision): partial(
                build, model, workload, baseline_texts=REFERENCE_BATCH, precision=precision
            )
            for precision in scoring.precisions(inputs.device)
        }
    if name == "pools":
        return {name: partial(pools.build_suite, inputs, forms=not quick)}
    if name == "training":
        return {name: partial(training.build_suite, inputs, batches=2 if quick else 8)}
    cuda = inputs.device.type == "cuda"
    shape = kernels.Shape() if cuda else kernels.SMALL
    if quick:
        shape = replace(shape, texts=2, passes=2)
    dtypes = {"fp32": torch.float32} | ({"bf16": torch.bfloat16} if cuda else {})
    return {
        _title(name, precision): partial(kernels.build_suite, shape, dtype, inputs.device, compiled=not quick)
        for precision, dtype in dtypes.items()
    }


def _title(name: str, precision: str) -> str:
    return name if precision == "fp32" else f"{name}, {precision}"


def require_inputs(inputs: BenchmarkInputs, suite: str) -> None:
    """Refuse an unknown suite, or one whose models or texts are missing, before anything is measured.

    Raises:
        RecipeError: With what to add.
    """
    if suite not in SUITES:
        raise RecipeError(f"unknown suite {suite!r}", where="command line", hint=", ".join(SUITES))
    where, hint = f"suite {suite}", "give --run OUT of amalgamate, or -t TEACHER -t TEACHER -s STUDENT -d TEXTS"
    teachers = len(inputs.teachers)
    needed = {"scoring": 0 if inputs.shape else 1, "training": 1, "pools": 2, "scaling": 2, "end-to-end": 2}
    if teachers < needed.get(suite, 0):
        raise RecipeError(f"{needed[suite]} teacher(s) are needed, {teachers} given", where=where, hint=hint)
    if suite in ("training", "end-to-end") and inputs.student is None:
        raise RecipeError("no student to train", where=where, hint=hint)
    if suite == "serving" and inputs.trained is None:
        raise RecipeError("no trained student to serve", where=where, hint="give --trained, or --run OUT of amalgamate")
    if suite != "kernels" and not (suite == "scoring" and inputs.lengths):
        if suite == "scoring" and not teachers:
            raise RecipeError(
                "texts need a teacher's tokenizer", where=where, hint="give -t TEACHER, or --lengths MEAN"
            )
        if inputs.corpus.pairs is not None and suite not in ("scoring", "pools"):
            raise RecipeError("this suite does not measure pairs of texts", where=where, hint="leave the suite out")


def available_suites(inputs: BenchmarkInputs, log: Callable[[str], None] = lambda _: None) -> list[str]:
    """Return the default suites whose inputs are there; log the others."""
    available = []
    for name in DEFAULT_SUITES:
        try:
            require_inputs(inputs, name)
        except RecipeError as error:
            if inputs.texts is None:
                raise
            log(f"{name} is left out: {error.what}")
            continue
        available.append(name)
    return available


def prepare_output(folder: Path | None, *, plots: bool = False) -> Callable[[dict[str, Any]], None]:
    """Return a function that writes results into a folder: ``bench.json``, ``tables.md`` and, if asked for, plots.

    Raises:
        OutputError: If the folder cannot be made.
        MachineError: If plots are asked for and matplotlib is not installed.
    """
    if folder is None:
        return lambda _: None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError("the output is a file", where=str(folder), hint="give a folder") from None
    draw = None
    if plots:
        from muka_fast.bench.plots import require_matplotlib

        draw = require_matplotlib()

    def write(results: dict[str, Any]) -> None:
        atomic_write(folder / "bench.json", (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
        atomic_write(folder / "tables.md", markdown(results).encode())
        if draw is not None:
            draw(results, folder)

    return write
