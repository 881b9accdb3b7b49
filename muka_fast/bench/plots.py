"""Plots of a benchmark's results, PNG and SVG, on a white background that is readable in light and dark themes."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muka_fast.bench.tables import seconds_text
from muka_fast.errors import MachineError

OWN_COLOUR, BASELINE_COLOUR, GRID_COLOUR = "#0b6e99", "#9a9a9a", "#dddddd"


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
    """Draw one figure per suite, and write it as PNG and SVG; needs matplotlib."""
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


BASELINES = (
    *("MUKI reference", "batched PyTorch", "deterministic", "torch", "baal", "transformers", "Optimum"),
    "teachers in the loop",
)
"""Beginnings of the names of cases that run no code of this package."""


def is_baseline(name: str) -> bool:
    """Return whether a case runs no code of this package."""
    return name.endswith((", eager", ", compiled")) or name.startswith(BASELINES)


def _bars(pyplot: Any, name: str, suite: dict[str, Any]) -> Any:
    times = [(case, record["seconds"]) for case, record in suite["cases"].items() if "seconds" in record]
    if name == "serving":
        times = [(case, seconds) for case, seconds in times if case.endswith((", batch 1", ", batch 32"))]
    if not times:
        return None
    times.sort(key=lambda pair: pair[1])
    figure, axes = pyplot.subplots(figsize=(8, 0.32 * len(times) + 1))
    names, values = [case for case, _ in times], [1000 * seconds for _, seconds in times]
    colours = [BASELINE_COLOUR if is_baseline(case) else OWN_COLOUR for case in names]
    bars = axes.barh(names, values, color=colours)
    axes.bar_label(bars, [seconds_text(seconds) for _, seconds in times], padding=3, fontsize=8)
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 2, max(values) * 3)
    axes.set_xlabel(f"milliseconds per {suite['unit']} (logarithmic; blue: muka-fast)")
    axes.invert_yaxis()
    _set_style(axes)
    return figure


def _curves(pyplot: Any, suite: dict[str, Any]) -> Any:
    curves: dict[str, list[tuple[float, float]]] = {}
    for case in suite["cases"].values():
        cost = case["peak_bytes"] / 1e6 if case["curve"].startswith("memory") else case["seconds"]
        curves.setdefault(case["curve"], []).append((case["size"], cost))
    figure, axes = pyplot.subplots(2, (len(curves) + 1) // 2, figsize=(9, 5.5), squeeze=False)
    for panel, (name, points) in zip(axes.flat, curves.items(), strict=False):
        panel.plot(*zip(*points, strict=True), marker="o", color=OWN_COLOUR)
        sizes = [size for size, _ in points]
        panel.set_xscale("log")
        panel.set_xticks(sizes, [f"{size:g}" for size in sizes])
        panel.minorticks_off()
        panel.set_ylim(0, 1.15 * max(cost for _, cost in points))
        slope = suite["settings"]["exponents"].get(name)
        panel.set_title(name if slope is None else f"{name}: exponent {slope:.2f}", fontsize=9)
        panel.set_ylabel("MB" if name.startswith("memory") else "seconds", fontsize=8)
        _set_style(panel)
    for panel in list(axes.flat)[len(curves) :]:
        panel.set_visible(False)
    return figure


def _set_style(axes: Any) -> None:
    axes.grid(True, axis="x", color=GRID_COLOUR, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
