"""The documents show the figures of the committed results."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import forms  # noqa: E402
import passes  # noqa: E402
import scoring  # noqa: E402
import serving  # noqa: E402


@pytest.mark.parametrize(
    ("results", "part", "table"),
    [("scoring-cpu.json", "workloads", scoring.table), ("passes-cpu.json", "data", passes.table)],
)
def test_the_engines_page_shows_the_committed_figures(results, part, table):
    found = json.loads((ROOT / "benchmarks" / "results" / results).read_text(encoding="utf-8"))
    assert len(found[part]) >= 4
    assert table(found[part]).strip() in (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")


def test_the_export_page_shows_the_committed_figures():
    page = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
    served = json.loads((ROOT / "benchmarks" / "results" / "serving-cpu.json").read_text(encoding="utf-8"))
    assert serving.table(served).strip() in page
    scored = json.loads((ROOT / "benchmarks" / "results" / "forms-cpu.json").read_text(encoding="utf-8"))
    assert len(scored["data"]) >= 2
    assert forms.table(scored["data"]).strip() in page
