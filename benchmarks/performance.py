"""Write ``docs/performance.md`` from the committed results of ``muka-fast bench``.

No number in them is typed by hand. The text before the page's tables is ``performance_intro.md``.

    python benchmarks/performance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from muka_fast.bench.results import bytes_text, markdown, seconds_text, share_text
from muka_fast.evaluation.markdown import markdown_table

ROOT = Path(__file__).parents[1]
RESULTS, PAGE = ROOT / "benchmarks" / "results", ROOT / "docs" / "performance.md"
INTRO = ROOT / "benchmarks" / "performance_intro.md"


def collect(folder: Path = RESULTS) -> dict[str, dict[str, Any]]:
    """Return the committed results by name."""
    return {
        path.stem.removeprefix("bench-"): json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("bench-*.json"))
    }


def page(results: dict[str, dict[str, Any]]) -> str:
    """Return the page."""
    parts = [INTRO.read_text(encoding="utf-8"), f"\n## Summary\n\n{summary(results)}\n"]
    for name, one in results.items():
        told = ", ".join(f"{key} {value}" for key, value in one["versions"].items() if value != "not installed")
        parts += [f"\n## {name}\n\n{markdown(one)}\nVersions: {told}.\n"]
    return "".join(parts)


def summary(results: dict[str, dict[str, Any]]) -> str:
    """Return what the passes and a whole run take beside the published code's way, a row a measurement."""
    rows = []
    for name, one in results.items():
        for suite, found in one["suites"].items():
            link = f"[{name}](#{name})"
            if suite.startswith("scoring") and "seconds" in (engine := found["rows"].get("engine, full", {})):
                what = ", ".join([suite, *([found["settings"]["precision"]] if "," not in suite else [])])
                ratios = [
                    f"{found['rows'][other]['seconds'] / engine['seconds']:.1f}×" for other in ("authors", "by hand")
                ]
                cost = f"{seconds_text(engine['seconds'])} a text"
                rows.append([link, what, cost, *ratios, share_text(engine.get("share_of_floor"))])
            if suite == "end-to-end":
                theirs = found["rows"][found["against"][0]]
                for way, row in found["rows"].items():
                    if row is not theirs:
                        cost = f"{seconds_text(row['total_seconds'])}, {bytes_text(row['peak_bytes'])}"
                        ratio = f"{theirs['total_seconds'] / row['total_seconds']:.1f}×"
                        rows.append([link, f"a whole run, {way.removeprefix('muka-fast, ')}", cost, ratio, "–", "–"])
    return markdown_table(["result", "what", "takes", "published way / it", "by hand / it", "of floor"], rows)


if __name__ == "__main__":
    PAGE.write_text(page(collect()), encoding="utf-8")
    print(PAGE)
