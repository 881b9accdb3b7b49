"""``muka-fast bench`` on tiny models: the quick suites of a finished run; wrong uses are refused."""

import json

import pytest

from muka_fast.bench import results
from tests.helpers.commands import invoke


@pytest.fixture(scope="module")
def quick_run(finished, tmp_path_factory):
    """The quick suites of a finished run: the command's result, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("quick")
    result = invoke("bench", "--run", finished, "--quick", "-o", folder)
    assert result.exit_code == 0, result.stderr
    return result, folder


@pytest.mark.slow
def test_the_default_suites_of_a_finished_run(quick_run):
    result, folder = quick_run
    found = results.read_results(folder / "bench.json")
    assert list(found["suites"]) == ["scoring", "pools", "training", "serving", "kernels"]
    assert found["peaks"]["matmul_shape"] == [512, 768, 3072]
    scoring = found["suites"]["scoring"]
    assert scoring["cases"]["engine, tail"]["roofline_share"] > 0
    assert scoring["settings"]["passes"] == 4
    assert "stored targets" in result.stdout
    assert "suite pools" in result.stderr
    tables = (folder / "tables.md").read_text()
    assert "| engine, full (torch) |" in tables
    assert "engine, tail" in tables


@pytest.mark.slow
def test_served_labels_have_the_accuracy_of_evaluate(quick_run, finished):
    served = results.read_results(quick_run[1] / "bench.json")["suites"]["serving"]["cases"]
    measured = invoke("evaluate", finished, "-d", finished.parent / "test.csv", "--no-teachers", "--json")
    accuracy = json.loads(measured.stdout)["metrics"]["accuracy"]  # labels match whatever their case
    for runtime in ("transformers pipeline", "torch, eager", "ONNX fp32, fused"):
        assert served[f"{runtime}, batch 8"]["accuracy"] == accuracy, runtime
    assert served["ONNX int8, all at once"]["p99_ms"] >= served["ONNX int8, all at once"]["p50_ms"] > 0


@pytest.mark.slow
def test_compare_exits_with_1_if_a_case_is_slower(quick_run, tmp_path):
    before = results.read_results(quick_run[1] / "bench.json")
    for name, case in before["suites"]["kernels"]["cases"].items():
        case["seconds"] *= 1e-6 if name == "attention" else 1e6
    earlier = tmp_path / "bench.json"
    earlier.write_text(json.dumps(before))
    slower = invoke("bench", "kernels", "--quick", "--compare", earlier, "--json")
    assert slower.exit_code == 1
    assert "1 case(s) take more than" in slower.stderr
    assert "kernels: attention" in slower.stderr
    assert list(json.loads(slower.stdout)["suites"]) == ["kernels"]
    allowed = invoke("bench", "kernels", "--quick", "--compare", earlier, "--factor", "1000000000")
    assert allowed.exit_code == 0, allowed.stderr


MODELS = ["-t", "one", "-t", "two", "-d", "texts.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quick"], "no models to measure"),
        (["pools", "-t", "one", "-d", "texts.jsonl"], "2 teacher(s) are needed, 1 given"),
        (["scoring", *MODELS, "-o", "texts.jsonl"], "the output is a file"),
        (["scoring", *MODELS, "-o", "texts.jsonl/below"], "the output is a file"),
        (["speed", *MODELS], "unknown suite 'speed'"),
        (["scoring", *MODELS, "--compare", "torn.json"], "cannot read the benchmark results"),
        (["scoring", *MODELS, "--compare", "none.json"], "cannot read the benchmark results"),
        (["scoring", *MODELS, "--compare", "list.json"], "not the results of a benchmark"),
        (["scoring", *MODELS, "--compare", "old.json"], "schema version 0"),
        (["scoring", *MODELS, "--compare", "damaged.json"], "the benchmark results are damaged: scoring"),
        (["scoring", *MODELS, "--compare", "other.json"], "measured with device another"),
        (["training", *MODELS], "no student to train"),
        (["serving", *MODELS], "no trained student"),
        (["scoring", "-t", "one", "-t", "two"], "no texts to measure on"),
        (["scoring", *MODELS, "--lengths", "many"], "not token counts"),
        (["scoring", *MODELS, "--shape", "huge"], "not a choice"),
        (["scoring", *MODELS, "--device", "tpu"], "not a choice: tpu"),
        (["scoring", "--run", "one"], "not a finished run"),
        (["scoring", *MODELS, "--plots"], "--plots needs a folder"),
    ],
)
def test_wrong_uses_are_refused(project, monkeypatch, arguments, message):
    monkeypatch.chdir(project)
    whole = {"kind": "bench", "schema_version": results.SCHEMA_VERSION, "quick": False, "device": "another"}
    for name, content in (
        ("torn", "{"),
        ("list", "[]"),
        ("old", json.dumps({"kind": "bench", "schema_version": 0, "suites": {}})),
        ("damaged", json.dumps(whole | {"suites": {"scoring": {}}})),
        ("other", json.dumps(whole | {"suites": {}})),
    ):
        (project / f"{name}.json").write_text(content)
    result = invoke("bench", *arguments)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
