"""The suites by name, run one after the other on one machine, its ceilings measured in the same run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from muka_fast.bench.baselines import AUTHORS_BATCH
from muka_fast.bench.inputs import Material
from muka_fast.bench.results import SCHEMA_VERSION, require_same, settle
from muka_fast.bench.suites import end_to_end, kernels, pools, scaling, scoring, serving, training
from muka_fast.bench.timer import LEAST_TURNS, MachinePeaks, Suite, measure
from muka_fast.errors import RecipeError
from muka_fast.runtime.environment import OPTIONAL, PACKAGES, device_name, versions

SUITES = ("scoring", "pools", "training", "serving", "kernels", "scaling", "end-to-end")
QUICK = ("scoring", "pools", "training", "serving", "kernels")
QUICK_TEXTS = 64
PEERS = ("torch-uncertainty", "baal")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def run_suites(
    material: Material,
    suites: Sequence[str],
    *,
    quick: bool = False,
    repeats: int = 5,
    seconds: float = 180.0,
    few: int = 500,
    before: dict[str, Any] | None = None,
    log: Callable[[str], None] = _say,
    keep: Callable[[dict[str, Any]], None] = lambda _: None,
) -> dict[str, Any]:
    """Measure suites.

    Args:
        material: Models and texts.
        suites: Names among ``SUITES``.
        quick: Fewer texts, passes, ways and turns: under a minute with small models.
        repeats: Turns of every row.
        seconds: No further turn of a suite begins after this long, but three there are (``quick``: one).
        few: ``end-to-end``: how many texts the published pipeline runs on.
        before: Results to be compared with, refused here if they cannot be.
        log: Told what goes on.
        keep: Given what there is after every suite.

    Raises:
        RecipeError: If there is no such suite, the material lacks what it needs, or ``before`` is of another device.
    """
    for name in suites:
        require(material, name)
    if quick:
        material = replace(material, count=min(material.count, QUICK_TEXTS), passes=min(material.passes, 4))
        repeats, seconds = min(repeats, 2), min(seconds, 5.0)
    found: dict[str, Any] = {}
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "kind": "bench",
        "device": device_name(material.device),
        "threads": torch.get_num_threads(),
        "versions": versions((*PACKAGES, *OPTIONAL, *PEERS)),
        "quick": quick,
        "suites": found,
    }
    if before is not None:
        require_same(results, before, ("device", "quick"), "baseline")
    ceilings = MachinePeaks.measure(material.device)

    def timed(name: str, suite: Suite) -> None:
        least = 1 if quick else LEAST_TURNS
        rows = measure(suite, ceilings, material.device, repeats=repeats, seconds=seconds, least=least, log=log)
        found[name] = suite.record(rows)

    for name in suites:
        log(f"suite {name}")
        if name == "scoring":
            for precision in scoring.precisions(material.device):
                title = name if precision == "fp32" else f"{name}, {precision}"
                timed(title, scoring.suite(material.model, material.workload(), few=AUTHORS_BATCH, precision=precision))
        elif name == "pools":
            timed(name, pools.suite(material, forms=not quick))
        elif name == "training":
            timed(name, training.suite(material, batches=2 if quick else 8))
        elif name == "kernels":
            _time_kernels(timed, material, quick)
        elif name == "serving":
            found[name] = serving.of_material(material, quick=quick)
        elif name == "scaling":
            found[name] = scaling.of_material(material, repeats=repeats)
        else:
            found[name] = end_to_end.of_material(material, few=few)
        settle(results, ceilings)
        keep(results)
    return results


def require(material: Material, suite: str) -> None:
    """Refuse a suite that is not known, or whose models or texts are not there, before anything is measured.

    Raises:
        RecipeError: With what to add.
    """
    if suite not in SUITES:
        raise RecipeError(f"no suite is called {suite!r}", where="command line", hint=", ".join(SUITES))
    where, hint = f"suite {suite}", "give --run OUT of amalgamate, or -t TEACHER -t TEACHER -s STUDENT -d TEXTS"
    teachers = len(material.teachers)
    least = {"scoring": 0 if material.shape else 1, "training": 1, "pools": 2, "scaling": 2, "end-to-end": 2}
    if teachers < least.get(suite, 0):
        raise RecipeError(f"{least[suite]} teacher(s) are needed, {teachers} given", where=where, hint=hint)
    if suite in ("training", "end-to-end") and material.student is None:
        raise RecipeError("no student to train", where=where, hint=hint)
    if suite == "serving" and material.trained is None:
        raise RecipeError("no trained student to serve", where=where, hint="give --trained, or --run OUT of amalgamate")
    if suite != "kernels" and not (suite == "scoring" and material.lengths):
        if suite == "scoring" and not teachers:
            raise RecipeError(
                "texts need a teacher's tokenizer", where=where, hint="give -t TEACHER, or --lengths MEAN"
            )
        if material.corpus.pairs is not None and suite not in ("scoring", "pools"):
            raise RecipeError("pairs of texts are not measured", where=where, hint="leave the suite out")


def suites_for(material: Material, log: Callable[[str], None] = _say) -> list[str]:
    """Return those of the default suites that the models are enough for; say what is left out."""
    found = []
    for name in QUICK:
        try:
            require(material, name)
        except RecipeError as error:
            if material.texts is None:
                raise
            log(f"{name} is left out: {error.what}")
            continue
        found.append(name)
    return found


def _time_kernels(timed: Callable[..., None], material: Material, quick: bool) -> None:
    """Time the operations at BERT-base's width, in every precision the device has."""
    cuda = material.device.type == "cuda"
    shape = kernels.Shape() if cuda else kernels.SMALL
    if quick:
        shape = replace(shape, texts=2, passes=2)
    for dtype in (torch.float32, torch.bfloat16) if cuda else (torch.float32,):
        name = "kernels" if dtype == torch.float32 else "kernels, bf16"
        timed(name, kernels.suite(shape, dtype, material.device, compiled=not quick))
