"""``muka-fast bench`` on tiny models: every suite gives its rows; wrong uses are refused."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from muka_fast.bench import results, runner, subprocesses
from muka_fast.bench.inputs import Material, of_run
from muka_fast.bench.suites import end_to_end, scaling, serving, training
from muka_fast.cli import app
from muka_fast.config.recipe import DataSpec, StudentSpec, TeacherSpec
from muka_fast.errors import CheckFailed, MachineError, RecipeError

CPU = torch.device("cpu")


def bench(*arguments):
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


@pytest.fixture
def finished(project, monkeypatch):
    monkeypatch.chdir(project)
    arguments = ["amalgamate", "recipe.yaml", "--test", "test.csv", "--set", "training.max_steps=2"]
    result = CliRunner().invoke(app, [*arguments, "--set", "uncertainty.passes=0"])
    assert result.exit_code == 0, result.stderr
    return project / "out"


def test_the_quick_suites_of_a_finished_run(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(serving, "REQUESTS", {1: 2, 8: 1})
    monkeypatch.setattr(serving, "TURNS", 1)
    result = bench("scoring", "pools", "training", "serving", "--run", finished, "--quick", "-o", tmp_path / "found")
    assert result.exit_code == 0, result.stderr
    found = results.read_results(tmp_path / "found" / "bench.json")
    assert set(found["suites"]) == {"scoring", "pools", "training", "serving"}
    assert found["ceilings"]["product"] == [4096, 768, 3072]
    assert found["suites"]["scoring"]["rows"]["engine, tail"]["share_of_floor"] > 0
    assert found["suites"]["scoring"]["settings"]["passes"] == 4
    served = found["suites"]["serving"]["rows"]
    assert served["ONNX fp32, fused, batch 8"]["accuracy"] == served["torch, eager, batch 8"]["accuracy"]
    assert served["ONNX int8, all at once"]["p99_ms"] >= served["ONNX int8, all at once"]["p50_ms"] > 0
    assert "stored targets" in result.stdout
    tables = (tmp_path / "found" / "tables.md").read_text()
    assert "| engine, full (torch) |" in tables
    assert "engine, tail" in tables

    same = tmp_path / "found" / "bench.json"
    for name, row in found["suites"]["scoring"]["rows"].items():
        row["seconds"] = row.get("seconds", 1.0) * (1e-6 if name == "engine, full" else 1e6)
    same.write_text(json.dumps(found))
    slower = bench("scoring", "--run", finished, "--quick", "--compare", same)
    assert (slower.exit_code, "scoring: engine, full" in slower.stderr) == (1, True)
    assert "1 row(s) take more than" in slower.stderr
    other = bench("pools", "--run", finished, "--quick", "--compare", same, "--factor", "1000000000")
    assert other.exit_code == 0, other.stderr
    fewer = bench("pools", "--run", finished, "--quick", "--compare", same, "--passes", "2")
    assert (fewer.exit_code, "measured with passes 4, now 2" in fewer.stderr) == (2, True)


@pytest.mark.parametrize("half", [None, torch.bfloat16])
def test_students_steps_run_under_the_autocast_of_amalgamate(project, monkeypatch, half):
    seen = []
    monkeypatch.setattr(training, "autocast_type", lambda settings, device: half)
    monkeypatch.setattr(
        training, "backward_microbatched", lambda model, *_, **__: seen.append(torch.is_autocast_enabled("cpu"))
    )
    teacher, student = TeacherSpec(model=str(project / "one")), StudentSpec(model=str(project / "base"))
    material = Material((teacher,), student, None, DataSpec(texts=[str(project / "texts.jsonl")]), None, CPU, count=16)
    suite = training.suite(material, batches=1)
    suite.rows[0].set_up()()
    assert seen == [half is not None]
    assert {row.precision for row in suite.rows} == {"fp32" if half is None else "bf16"}
    assert suite.settings.get("autocast") == (None if half is None else "bfloat16")


def test_what_cannot_be_measured_is_left_out_and_said(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    result = bench("-t", "one", "-t", "two", "-d", "texts.jsonl", "--quick", "-o", tmp_path / "found")
    assert result.exit_code == 0, result.stderr
    assert "training is left out: no student to train" in result.stderr
    assert "serving is left out: no trained student" in result.stderr
    found = results.read_results(tmp_path / "found" / "bench.json")
    assert set(found["suites"]) == {"scoring", "pools", "kernels"}


def test_a_student_alone_can_be_served(finished, monkeypatch):
    monkeypatch.setattr(serving, "REQUESTS", {1: 2})
    monkeypatch.setattr(serving, "TURNS", 1)
    models = ["--trained", "out", "-d", "texts.jsonl", "--test", "test.csv"]
    result = bench("serving", *models, "--quick", "--json")
    assert result.exit_code == 0, result.stderr
    rows = json.loads(result.stdout)["suites"]["serving"]["rows"]
    # As ``evaluate`` counts them: labels are matched whatever their case.
    measured = CliRunner().invoke(app, ["evaluate", "out", "-d", "test.csv", "--no-teachers", "--json"])
    assert rows["torch, eager, batch 1"]["accuracy"] == json.loads(measured.stdout)["student"]["accuracy"]


def broken():
    raise RuntimeError("no compiler here\nmore")


def test_a_way_that_fails_to_serve_is_a_row_that_says_so():
    assert serving.Server(broken, "broken").missing == "RuntimeError: no compiler here"


def test_a_refused_graph_is_a_row_that_says_so(finished, tmp_path, monkeypatch):
    whole = serving.export

    def refusing(folder, out, precisions, **options):
        if "int8" in precisions:
            raise CheckFailed("the int8 graph is not the model's")
        return whole(folder, out, precisions=precisions, **options)

    monkeypatch.setattr(serving, "export", refusing)
    sample = Material(**of_run(finished), device=CPU, count=8).corpus
    found = serving.ways(finished, tmp_path, sample, quick=True)
    assert found["ONNX int8"] == "the int8 graph is not the model's"
    assert isinstance(found["ONNX fp32, fused"], tuple)


def test_the_peak_of_a_command_is_its_own():
    held = np.ones(60_000_000)  # 480 MB in this process
    small = subprocesses.run(["-S", "-c", "print('hi')"], "test")
    large = subprocesses.run(["-S", "-c", "x = b'1' * 300_000_000"], "test")
    assert small.output == "hi\n"
    assert small.peak_bytes < 1e8 < held.nbytes
    assert 3e8 < large.peak_bytes < 4e8
    with pytest.raises(MachineError, match="a measured command failed: error: broken"):
        subprocesses.run(["-c", "import sys; sys.exit('error: broken\\nfix: mend')"], "test")


def test_a_made_up_teacher_and_made_up_texts():
    made = Material((), None, None, None, None, CPU, passes=2, count=4, lengths=(9.0, 2.0), shape="minilm")
    found = made.workload()
    assert len(found.rows) == 4
    for name, told in (
        ("scoring", "texts need a teacher's tokenizer"),
        ("pools", r"2 teacher\(s\) are needed, 0 given"),
    ):
        with pytest.raises(RecipeError, match=told):
            runner.require(Material((), None, None, None, None, CPU, shape="minilm"), name)


def test_scaling_has_a_curve_and_an_exponent_each(finished, monkeypatch):
    monkeypatch.setattr(scaling, "PASSES", (1, 2))
    monkeypatch.setattr(scaling, "LENGTHS", (8, 16))
    monkeypatch.setattr(scaling, "PROCESSES", (1, 2))
    material = Material(**of_run(finished), device=CPU, passes=2, count=16)
    found = scaling.of_material(material, repeats=1, pools=(20, 40))
    exponents = found["settings"]["exponents"]
    assert set(exponents) == {"passes", "length", "teachers", "texts", "processes"}
    assert all(row["seconds"] > 0 for row in found["rows"].values())
    assert found["rows"]["memory, texts = 40"]["peak_bytes"] > 1e8
    header, rows = results.suite_table("scaling", found)
    assert header == ["with", "size: cost", "exponent"]
    assert len(rows) == 6
    assert rows[-1][-1] == f"{found['settings']['bytes_a_text']:,.0f} bytes a text"


def test_the_start_of_processes_is_not_counted(monkeypatch):
    told = 'launcher: hello\n{"kind": "score", "seconds": 2.5}\n'
    monkeypatch.setattr(scaling, "run", lambda command, where: subprocesses.Finished(99.0, 10**6, told))
    material = Material((), None, None, None, None, CPU)
    monkeypatch.setattr(Material, "write_recipe", lambda self, work, texts, **sections: work / "recipe.yaml")
    monkeypatch.setattr(Material, "described", [SimpleNamespace(checkpoint=SimpleNamespace(folder="x"))])
    assert scaling._seconds(scaling._store(material, ["a"], 2, 4, 1)) == 2.5


def test_exponents_by_hand():
    assert scaling.exponent([1, 10, 100], [5, 5, 5]) == pytest.approx(0)
    assert scaling.exponent([1, 2, 4], [3, 6, 12]) == pytest.approx(1)
    assert scaling.exponent([1, 2, 4], [1, 4, 16]) == pytest.approx(2)


def test_a_whole_run_against_the_authors(finished):
    material = Material(**of_run(finished), device=CPU, passes=2, count=40)
    found = end_to_end.of_material(material, few=20, epochs=1.0)
    ours, theirs = found["rows"]["muka-fast, pool"], found["rows"]["authors, K = 2"]
    assert ours["peak_bytes"] > 1e7
    assert theirs["measured_on"] == 20
    # Twice the texts: its loop's seconds are counted twice, those of its start once.
    assert theirs["measured_seconds"] < theirs["total_seconds"] < 2 * theirs["measured_seconds"]
    table = results.suite_table("end-to-end", found)[1]
    assert table[-1][-1] == "measured on 20 texts and scaled; accuracy of our student of its method"
    assert table[-1][-2] == "1.0×"


def test_wrong_uses_are_refused(project, monkeypatch, tmp_path):
    monkeypatch.chdir(project)
    torn, old, damaged, other = (tmp_path / f"{name}.json" for name in ("torn", "old", "damaged", "other"))
    torn.write_text("{")
    old.write_text(json.dumps({"kind": "bench", "schema_version": 0, "suites": {}}))
    whole = {"kind": "bench", "schema_version": results.SCHEMA_VERSION, "quick": False, "device": "another"}
    damaged.write_text(json.dumps(whole | {"suites": {"scoring": {}}}))
    other.write_text(json.dumps(whole | {"suites": {}}))
    models = ["-t", "one", "-t", "two", "-d", "texts.jsonl"]
    for arguments, told in (
        (["--quick"], "no models to measure"),
        (["pools", "-t", "one", "-d", "texts.jsonl"], "2 teacher(s) are needed, 1 given"),
        (["scoring", *models, "-o", "texts.jsonl"], "the output is a file"),
        (["scoring", *models, "-o", "texts.jsonl/below"], "the output is a file"),
        (["speed", *models], "no suite is called 'speed'"),
        (["scoring", *models, "--compare", str(torn)], "cannot read the baseline"),
        (["scoring", *models, "--compare", str(old)], "schema version 0"),
        (["scoring", *models, "--compare", str(tmp_path / "none.json")], "cannot read the baseline"),
        (["scoring", *models, "--compare", str(damaged)], "the baseline is damaged: scoring"),
        (["scoring", *models, "--compare", str(other)], "measured with device another"),
        (["training", *models], "no student to train"),
        (["serving", *models], "no trained student"),
        (["scoring", "-t", "one", "-t", "two"], "no texts to measure on"),
        (["scoring", *models, "--lengths", "many"], "no lengths"),
        (["scoring", *models, "--shape", "huge"], "not a choice"),
        (["scoring", "--run", "one"], "not a finished run"),
        (["scoring", *models, "--plots"], "--plots needs a folder"),
    ):
        result = bench(*arguments)
        assert (result.exit_code, told in result.stderr) == (2, True), (arguments, result.stderr)


def test_only_what_both_have_is_compared():
    rows = {"x": {"seconds": 3.0}, "y": {"missing": "no"}, "z": {"seconds": 1.0}}
    now = {"device": "cpu", "suites": {"a": {"settings": {"texts": 9}, "rows": rows}}}
    earlier = {"settings": {"texts": 9}, "rows": {"x": {"seconds": 2.0}, "y": {"seconds": 1.0}}}
    before = {"device": "cpu", "suites": {"a": earlier}}
    found = results.compare(now, before, "there")
    assert found == [("a", "x", 1.5)]
    assert results.gone(now, before) == ["a: y: no"]
    with pytest.raises(RecipeError, match="measured with device gpu, now cpu"):
        results.require_same(now, before | {"device": "gpu"}, ("device",), "there")
    with pytest.raises(RecipeError, match="measured with texts 8, now 9"):
        results.compare(now, before | {"suites": {"a": earlier | {"settings": {"texts": 8}}}}, "there")
    results.require_no_slower(found, 1.5, "there")
    with pytest.raises(CheckFailed, match=r"a: x 1\.50×"):
        results.require_no_slower(found, 1.4, "there")
    with pytest.raises(RecipeError, match="no row of these suites"):
        results.compare(now, before | {"suites": {}}, "there")


@pytest.mark.parametrize(
    "suite",
    [
        [],
        {},
        {"settings": {}},
        {"settings": {}, "rows": {"x": 1}},
        {"settings": {}, "rows": {"x": {}}},
        {"settings": {}, "rows": {"x": {"seconds": 0}}},
        {"settings": {}, "rows": {"x": {"seconds": "3"}}},
    ],
)
def test_a_damaged_baseline_is_found_before_anything_is_measured(tmp_path, suite):
    path = tmp_path / "baseline.json"
    whole = {"kind": "bench", "schema_version": results.SCHEMA_VERSION, "suites": {"scoring": suite}}
    path.write_text(json.dumps(whole))
    with pytest.raises(RecipeError, match="the baseline is damaged: scoring"):
        results.read_results(path)


def test_quartiles_are_shown_of_three_turns_or_more():
    row = {"seconds": 1.0, "quartiles": [0.5, 2.0], "per_second": 1.0, "cold_seconds": 3.0, "backend": "torch"}
    for repeats, header, cell in ((2, "2 turn(s)", "–"), (3, "quartiles of 3", "500 ms…2 s")):
        suite = {"unit": "call", "against": [], "rows": {"ours": row | {"repeats": repeats}}}
        names, (cells,) = results.suite_table("kernels", suite)
        assert dict(zip(names, cells, strict=True)) == {
            "way": "ours (torch)", "time a call": "1 s", header: cell, "a second": "1", "of floor": "–",
            "bound by": "–", "cold start": "3 s",
        }  # fmt: skip


def test_plots_are_drawn_where_matplotlib_is(tmp_path):
    pytest.importorskip("matplotlib")
    from muka_fast.bench.plots import plot

    rows = {"engine, full": {"seconds": 0.1}, "authors": {"seconds": 1.0}, "baal": {"missing": "no"}}
    curves = {f"passes = {n}": {"seconds": n, "curve": "passes", "size": n} for n in (1, 2, 4)}
    suites = {
        "scoring": {"unit": "text", "rows": rows},
        "scaling": {"unit": "run", "rows": curves, "settings": {"exponents": {"passes": 1.0}}},
    }
    written = plot({"suites": suites, "device": "cpu"}, tmp_path)
    assert {path.name for path in written} == {"scoring.png", "scoring.svg", "scaling.png", "scaling.svg"}
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1623.0, "1,623 s"), (12.34, "12.3 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 µs"), (5e-9, "5 ns")],
)
def test_durations_have_their_unit(seconds, shown):
    assert results.seconds_text(seconds) == shown


def test_a_suite_that_did_not_run_is_one_line():
    def suite(*whys):
        rows = {f"row {n}": {"missing": why} for n, why in enumerate(whys)}
        return {"unit": "text", "against": [], "settings": {"texts": 3}, "rows": rows}

    assert results.missing(suite("no time", "no time")) == ["not run: no time"]
    assert results.missing(suite("no time")) == ["row 0: not run, no time"]
    assert len(results.missing(suite("no time", "not installed"))) == 2
    page = results.markdown({"device": "this", "suites": {"scoring": suite("no time", "no time")}})
    assert page == "this.\n\n### scoring\n\ntexts 3.\n\nnot run: no time\n"
