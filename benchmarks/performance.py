"""Generate ``docs/performance.md`` from the committed results of ``muka-fast bench``.

Every number on the page comes from these results. The text before the page's tables is ``performance_intro.md``.

    python benchmarks/performance.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from muka_fast.bench.results import read_results
from muka_fast.bench.tables import bytes_text, markdown, seconds_text, share_text
from muka_fast.evaluation.tables import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
INTRO = ROOT / "benchmarks" / "performance_intro.md"
BASELINES = ("MUKI reference", "batched PyTorch")


def collect(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the committed results by name."""
    return {path.stem.removeprefix("bench-"): read_results(path) for path in sorted(folder.glob("bench-*.json"))}


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    parts = [INTRO.read_text(encoding="utf-8"), f"\n## Summary\n\n{summary(results)}\n"]
    for name, result in results.items():
        versions = ", ".join(f"{key} {value}" for key, value in result["versions"].items() if value != "not installed")
        parts += [f"\n## {name}\n\n{markdown(result)}\nVersions: {versions}.\n"]
    return "".join(parts)


def summary(results: dict[str, dict[str, Any]]) -> str:
    """Return the speed of the passes and of a whole run beside the baselines, one row per measurement."""
    rows = []
    for name, result in results.items():
        link = f"[{name}](#{name})"
        for title, suite in result["suites"].items():
            if title.startswith("scoring"):
                rows += [[link, *cells] for cells in _scoring_rows(title, suite)]
            if title == "end-to-end":
                rows += [[link, *cells] for cells in _end_to_end_rows(suite)]
    header = [
        "result",
        "what",
        "time",
        "speed-up over MUKI reference",
        "speed-up over batched PyTorch",
        "% of roofline",
    ]
    return markdown_table(header, rows)


def _scoring_rows(title: str, suite: dict[str, Any]) -> list[list[str]]:
    cases = suite["cases"]
    engine = cases.get("engine, full", {})
    if "seconds" not in engine:
        return []
    precision = [] if "," in title else [suite["settings"]["precision"]]
    ratios = [f"{cases[name]['seconds'] / engine['seconds']:.1f}×" for name in BASELINES]
    time = f"{seconds_text(engine['seconds'])} per text"
    return [[", ".join([title, *precision]), time, *ratios, share_text(engine.get("roofline_share"))]]


def _end_to_end_rows(suite: dict[str, Any]) -> list[list[str]]:
    (baseline,) = suite["baselines"]
    reference, rows = suite["cases"][baseline], []
    for name, case in suite["cases"].items():
        if name != baseline:
            cost = f"{seconds_text(case['total_seconds'])}, {bytes_text(case['peak_bytes'])}"
            ratio = f"{reference['total_seconds'] / case['total_seconds']:.1f}×"
            rows.append([f"a whole run, {name.removeprefix('muka-fast, ')}", cost, ratio, "–", "–"])
    return rows


if __name__ == "__main__":
    PAGE.write_text(page(collect()), encoding="utf-8")
    print(PAGE)
