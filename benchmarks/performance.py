"""Write ``docs/performance.md`` from the committed results of ``muka-fast bench``: no number in it is typed by hand.

The text before the tables is ``performance_intro.md``.

    python benchmarks/performance.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from muka_fast.bench.results import markdown

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
    parts = [INTRO.read_text(encoding="utf-8")]
    for name, one in results.items():
        told = ", ".join(f"{key} {value}" for key, value in one["versions"].items() if value != "not installed")
        parts += [f"\n## {name}\n\n{markdown(one)}\nVersions: {told}.\n"]
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(collect()), encoding="utf-8")
    print(PAGE)
