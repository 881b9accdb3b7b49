"""Put the results of the studies on cheap students into the documents.

    python benchmarks/study_tables.py

Reads ``selection-students.json``, ``calibration.json`` and ``selection-judge.json`` of ``benchmarks/results``; fills
``docs/methods.md`` and ``docs/selection.md``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from documents import fill
from selection_pools import CELLS
from simulated_students import HALVES

from muka_fast.evaluation.tables import markdown_table

ROOT = Path(__file__).parents[1]
TARGETS = {
    "muka": "`muka`, one pass",
    "vkd": "`vkd`",
    "hard choice": "most likely teacher",
    "mixture": "**mixture**",
    "mixture, T 2": "mixture, T = 2",
    "mixture, T 5": "mixture, T = 5",
    "votes": "teachers' most likely classes, by posterior",
    "mixture, smoothed": "mixture, doubtful texts smoothed",
    "mixture, by margin": "mixture, weighted by margin",
    "mixture, teachers alike": "mixture, teachers weighted alike",
    "mixture, classes ½": "mixture, classes weighted by share^−½",
    "mixture, by margin, teachers ½": "mixture, margin and teachers",
    "oracle": "teacher that knows the class",
}
FITS = {
    "none": "nothing, T = 1",
    "mixture": "the targets, as formerly",
    "most likely class": "the most likely class",
    "weighted class": "the same, weighted by its probability",
    "smoothed class": "the same, smoothed by the estimated recall",
    "votes": "**votes**, 200 texts",
    "votes of 50 texts": "votes, 50 texts",
    "votes of 20 texts": "votes, 20 texts",
    "labels alone": "50 labels alone",
    "votes and labels": "votes of 50 texts and 50 labels",
}


def read(name: str) -> dict[str, Any]:
    """Read a result file."""
    return json.loads((ROOT / "benchmarks" / "results" / name).read_text(encoding="utf-8"))


def targets_table(results: dict[str, Any]) -> str:
    """Show students by target: accuracy by cell, gap closed and worst pool, and the difference in each half."""
    lines = []
    for name, shown in TARGETS.items():
        own = next(one for one in results["summary"] if one["variant"] == name)
        change = [
            np.mean([row[name] - row["mixture"] for row in results["rows"] if row["setting"] in half])
            for half in HALVES
        ]
        figures = [f"{own[key]:.1f}" for key in ("accuracy", *CELLS)]
        gaps = [f"{own['gap_closed']:.0f}, {own['worst_gap_closed']:.0f}", f"{own['worst_against_muka']:+.1f}"]
        lines.append([shown, *figures, *gaps, *(f"{one:+.1f}" for one in change)])
    header = ["student of", "mean", *CELLS, "gap closed, worst", "worst against `muka`", "first half", "second half"]
    return markdown_table(header, lines)


def calibration_table(results: dict[str, Any]) -> str:
    """Show the calibration errors of students by what their temperature is fitted to."""

    def of(method: str, name: str) -> dict[str, Any]:
        return next(
            one for one in results["summary"] if (one["method"], one["penalty"], one["fit"]) == (method, None, name)
        )

    lines = []
    for name, shown in FITS.items():
        pool = of("pool", name)
        figures = [f"{pool[key]:.1f}" for key in ("ece", "worst_ece", "adaptive_ece", CELLS[0], CELLS[2], CELLS[4])]
        lines.append([shown, *figures, f"{pool['no_worse_than_none']}", f"{of('muka', name)['ece']:.1f}"])
    count = {method: of(method, "none")["students"] for method in ("pool", "muka")}
    header = [
        "T fitted to", f"`pool`, {count['pool']} students", "worst", "adaptive bins", CELLS[0], CELLS[2], CELLS[4],
        "no worse than T = 1", f"`muka`, {count['muka']} students",
    ]  # fmt: skip
    return markdown_table(header, lines)


def judge_table(results: dict[str, Any]) -> str:
    """Show recall by the factor of the student's judgement."""
    keys = ("recall", "lowest", *CELLS)
    lines = [
        [f"{one['factor']:g}", *(f"{one[key]:.1f}" for key in keys), f"{one['worst']:+.1f}"]
        for one in results["summary"]
    ]
    return markdown_table(["factor", *keys, "worst pool"], lines)


def main() -> None:
    """Fill the documents."""
    fill(ROOT / "docs" / "methods.md", "students", {"targets": targets_table(read("selection-students.json"))})
    fill(ROOT / "docs" / "methods.md", "students", {"calibration": calibration_table(read("calibration.json"))})
    fill(ROOT / "docs" / "selection.md", "students", {"judge": judge_table(read("selection-judge.json"))})


if __name__ == "__main__":
    main()
