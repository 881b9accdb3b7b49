"""Plots of a benchmark's results, PNG and SVG, on a white ground so that they read in light and dark."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muka_fast.bench.results import seconds_text
from muka_fast.errors import MachineError

OURS, THEIRS, GRID = "#0b6e99", "#9a9a9a", "#dddddd"


def require_matplotlib() -> Callable[[dict[str, Any], Path], list[Path]]:
    """Return :func:`plot`.

    Raises:
        MachineError: If matplotlib is not installed.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MachineError(
            "plots need matplotlib", where="--plots", hint="pip install 'muka-fast[bench]', or leave --plots out"
        )
    return plot


def plot(results: dict[str, Any], folder: Path) -> list[Path]:
    """Draw a figure a suite and write it as PNG and SVG; needs matplotlib."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    written = []
    for name, suite in results["suites"].items():
        figure = _curves(pyplot, suite) if name == "scaling" else _bars(pyplot, name, suite)
        if figure is None:
            continue
        figure.suptitle(f"{name}, {results['device']}", fontsize=10)
        figure.tight_layout()
        for ending in ("png", "svg"):
            path = folder / f"{name.replace(', ', '-')}.{ending}"
            figure.savefig(path, dpi=144, facecolor="white", bbox_inches="tight")
            written.append(path)
        pyplot.close(figure)
    return written


def is_ours(name: str) -> bool:
    """Return whether a row is of this package."""
    if name.endswith((", eager", ", compiled")):
        return False
    theirs = ("authors", "by hand", "deterministic", "torch", "baal", "transformers", "Optimum", "teachers in the loop")
    return not name.startswith(theirs)


def _bars(pyplot: Any, name: str, suite: dict[str, Any]) -> Any:
    rows = [(row, found["seconds"]) for row, found in suite["rows"].items() if "seconds" in found]
    if name == "serving":
        rows = [(row, seconds) for row, seconds in rows if row.endswith((", batch 1", ", batch 32"))]
    if not rows:
        return None
    rows.sort(key=lambda pair: pair[1])
    figure, axes = pyplot.subplots(figsize=(8, 0.32 * len(rows) + 1))
    names, values = [row for row, _ in rows], [1000 * seconds for _, seconds in rows]
    bars = axes.barh(names, values, color=[OURS if is_ours(row) else THEIRS for row in names])
    axes.bar_label(bars, [seconds_text(seconds) for _, seconds in rows], padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.set_xlabel(f"milliseconds a {suite['unit']} (logarithmic; blue: muka-fast)")
    axes.invert_yaxis()
    _plain(axes)
    return figure


def _curves(pyplot: Any, suite: dict[str, Any]) -> Any:
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in suite["rows"].values():
        cost = row["peak_bytes"] / 1e6 if row["curve"].startswith("memory") else row["seconds"]
        curves.setdefault(row["curve"], []).append((row["size"], cost))
    figure, axes = pyplot.subplots(2, (len(curves) + 1) // 2, figsize=(9, 5.5), squeeze=False)
    for place, (name, points) in zip(axes.flat, curves.items(), strict=False):
        place.plot(*zip(*points, strict=True), marker="o", color=OURS)
        sizes = [size for size, _ in points]
        place.set_xscale("log")
        place.set_xticks(sizes, [f"{size:g}" for size in sizes])
        place.minorticks_off()
        place.set_ylim(0, 1.15 * max(cost for _, cost in points))
        slope = suite["settings"]["exponents"].get(name)
        place.set_title(name if slope is None else f"{name}: exponent {slope:.2f}", fontsize=9)
        place.set_ylabel("MB" if name.startswith("memory") else "seconds", fontsize=8)
        _plain(place)
    for place in list(axes.flat)[len(curves) :]:
        place.set_visible(False)
    return figure


def _plain(axes: Any) -> None:
    axes.grid(True, axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
