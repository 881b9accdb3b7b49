"""The documents show the figures of the committed results."""

import json
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import accuracy_tables  # noqa: E402
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


def test_the_comparison_of_methods_shows_the_committed_figures():
    frame = pd.read_parquet(ROOT / "benchmarks" / "results" / "accuracy.parquet")
    assert {"muka", "vkd", "uhc", "pool", "oracle"} <= set(frame["method"])
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert accuracy_tables.table(frame) in page
    assert accuracy_tables.summary(frame) in page
    assert accuracy_tables.summary(frame) in (ROOT / "README.md").read_text(encoding="utf-8")
