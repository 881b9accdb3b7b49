"""The documents show the figures of the committed results."""

import json
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
sys.path.insert(0, str(ROOT / "benchmarks"))

import accuracy_tables  # noqa: E402
import documents  # noqa: E402
import engine_versions  # noqa: E402
import forms  # noqa: E402
import memory  # noqa: E402
import passes_tables  # noqa: E402
import performance  # noqa: E402
import selection_absent  # noqa: E402
import selection_tables  # noqa: E402
import serving_load  # noqa: E402
import study_tables  # noqa: E402

from muka_fast.bench.results import SCHEMA_VERSION  # noqa: E402
from muka_fast.evaluation.run_record import Evaluation  # noqa: E402
from muka_fast.evaluation.tables import percent, result_rows  # noqa: E402


def test_the_engines_page_shows_the_committed_figures():
    found = json.loads((RESULTS / "passes-cpu.json").read_text(encoding="utf-8"))
    assert len(found["data"]) >= 4
    assert passes_tables.table(found["data"]).strip() in (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")


def test_the_export_page_shows_the_committed_figures():
    scored = forms.read_results(RESULTS / "forms-cpu.json")
    assert len(scored["data"]) >= 2
    assert forms.table(scored["data"]).strip() in (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def test_the_engines_page_shows_the_committed_comparison_with_another_commit():
    found = json.loads((RESULTS / "engine-cpu.json").read_text(encoding="utf-8"))
    assert engine_versions.table(found["cases"]) in (ROOT / "docs" / "engine.md").read_text(encoding="utf-8")


def test_the_scaling_page_shows_the_committed_runs():
    found = json.loads((RESULTS / "memory-cpu.json").read_text(encoding="utf-8"))
    assert memory.table(found["runs"]) in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


def test_the_scaling_page_shows_the_committed_time_of_the_rule():
    found = json.loads((RESULTS / "selection-scale-cpu.json").read_text(encoding="utf-8"))
    page = " ".join((ROOT / "docs" / "scaling.md").read_text(encoding="utf-8").split())
    figures = f"takes {found['seconds']:.0f} seconds of one thread beside other programs, and {found['peak_gib']} GiB"
    assert f"on {found['texts']:,} synthetic texts of {found['teachers']} teachers" in page
    assert figures in page


def test_the_serving_page_shows_the_committed_figures():
    found = json.loads((RESULTS / "serving-load.json").read_text(encoding="utf-8"))
    assert found["statuses"] == {"200": found["requests"]}
    assert all(400 <= status < 500 for status in found["malformed"].values())
    assert serving_load.table(found) in (ROOT / "docs" / "serving.md").read_text(encoding="utf-8")


def test_the_performance_page_is_written_from_the_committed_results():
    found = performance.collect()
    suites = {suite.partition(",")[0] for one in found.values() for suite in one["suites"]}
    assert suites == {"scoring", "pools", "training", "serving", "kernels", "scaling", "end-to-end"}
    assert all(one["schema_version"] == SCHEMA_VERSION for one in found.values())
    assert (ROOT / "docs" / "performance.md").read_text(encoding="utf-8") == performance.page(found)
    assert performance.summary(found) in performance.page(found)


def test_the_readme_shows_a_run_of_the_demonstration():
    record = json.loads((RESULTS / "demo.json").read_text(encoding="utf-8"))
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    for name, accuracy, remark in result_rows(Evaluation.model_validate(record["test"])):
        (line,) = [line for line in page.splitlines() if line.startswith(f"  {name} ")]
        assert line.split(name, 1)[1].split() == [*accuracy.split(), *remark.split()]
    trusted = ", ".join(f"{t['name']} {percent(t['chosen_share'])}" for t in record["teachers"])
    assert f"most trusted on the {record['texts']['used']} unlabelled texts: {trusted}" in page


def test_the_comparison_of_methods_shows_the_committed_figures():
    frame = pd.read_parquet(RESULTS / "accuracy.parquet")
    assert {"muka", "vkd", "uhc", "pool", "oracle"} <= set(frame["method"])
    page = (ROOT / "docs" / "accuracy.md").read_text(encoding="utf-8")
    assert accuracy_tables.table(frame) in page
    assert accuracy_tables.summary(frame) in page
    present = accuracy_tables.read_results(RESULTS / "accuracy-cpu.parquet")
    assert accuracy_tables.students(present) in page
    judged = accuracy_tables.read_results(RESULTS / "selection.parquet")
    for show in (accuracy_tables.selection, accuracy_tables.sweep, accuracy_tables.ood_detection):
        assert show(judged) in page


def test_the_selection_tables_show_the_committed_results():
    results = json.loads((RESULTS / "selection-learned.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs" / "selection.md").read_text(encoding="utf-8")
    for show in selection_tables.BLOCKS.values():
        assert show(results) in page
    for name in ("others", "ngrams"):
        rows = json.loads((RESULTS / f"selection-{name}.json").read_text(encoding="utf-8"))
        assert selection_tables.others(rows) in page
    assert selection_tables.summary(results) in (ROOT / "README.md").read_text(encoding="utf-8")


def test_documents_are_filled_between_their_marks(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- accuracy: one -->\nold\n<!-- end -->\nb\n<!-- accuracy: two -->\n\n<!-- end -->\n")
    for _ in range(2):
        documents.fill(page, "accuracy", {"one": "1 \\g<0>", "two": "2"})
    assert page.read_text() == (
        "a\n<!-- accuracy: one -->\n\n1 \\g<0>\n\n<!-- end -->\nb\n<!-- accuracy: two -->\n\n2\n\n<!-- end -->\n"
    )


def test_the_studies_on_cheap_students_are_shown_as_committed():
    methods, selection = ((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("methods.md", "selection.md"))
    assert study_tables.targets_table(study_tables.read("selection-students.json")) in methods
    assert study_tables.calibration_table(study_tables.read("calibration.json")) in methods
    assert study_tables.judge_table(study_tables.read("selection-judge.json")) in selection
    assert selection_absent.table(study_tables.read("selection-absent.json")["rows"]) in selection
