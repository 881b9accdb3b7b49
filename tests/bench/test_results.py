import json

import pytest

from muka_fast.bench import results
from muka_fast.bench.peaks import MachinePeaks
from muka_fast.errors import CheckFailed, RecipeError

PEAKS = MachinePeaks({"fp32": 100.0, "bf16": 400.0}, 10.0, (1, 2, 3))


def with_roofline(cases):
    record = {"suites": {"scoring": {"cases": cases}}}
    results.add_roofline(record, PEAKS)
    return record


def test_the_roofline_is_the_larger_of_two_bounds():
    peaks = with_roofline({})["peaks"]
    work = {"flops": 200.0, "bytes": 10.0}
    assert results.roofline_seconds(work | {"precision": "fp32"}, peaks) == (2.0, "compute")
    assert results.roofline_seconds(work | {"precision": "bf16"}, peaks) == (1.0, "memory")


def test_add_roofline_writes_share_and_bound():
    cases = {
        # 100 operations at 100 per second are 1 s per unit; it took 2.
        "one": {"seconds": 2.0, "work": {"flops": 100.0, "bytes": 0.0, "precision": "fp32"}},
        "two": {"seconds": 1.0},
        "three": {"missing": "no"},
    }
    with_roofline(cases)
    assert (cases["one"]["roofline_share"], cases["one"]["bound"]) == (0.5, "compute")
    assert cases["two"] == {"seconds": 1.0}
    assert cases["three"] == {"missing": "no"}


def test_compare_takes_the_cases_that_both_have():
    cases = {"x": {"seconds": 3.0}, "y": {"missing": "no"}, "z": {"seconds": 1.0}}
    now = {"device": "cpu", "suites": {"a": {"settings": {"texts": 9}, "cases": cases}}}
    before = {"settings": {"texts": 9}, "cases": {"x": {"seconds": 2.0}, "y": {"seconds": 1.0}}}
    earlier = {"device": "cpu", "suites": {"a": before}}
    ratios = results.compare(now, earlier, "there")
    assert ratios == [("a", "x", 1.5)]
    assert results.lost_cases(now, earlier) == ["a: y: no"]
    with pytest.raises(RecipeError, match="measured with device gpu, now cpu"):
        results.require_same(now, earlier | {"device": "gpu"}, ("device",), "there")
    with pytest.raises(RecipeError, match="measured with texts 8, now 9"):
        results.compare(now, earlier | {"suites": {"a": before | {"settings": {"texts": 8}}}}, "there")
    results.require_no_slower(ratios, 1.5, "there")
    with pytest.raises(CheckFailed, match=r"a: x 1\.50×"):
        results.require_no_slower(ratios, 1.4, "there")
    with pytest.raises(RecipeError, match="no case of these suites"):
        results.compare(now, earlier | {"suites": {}}, "there")


@pytest.mark.parametrize(
    "suite",
    [
        [],
        {},
        {"settings": {}},
        {"settings": {}, "cases": {"x": 1}},
        {"settings": {}, "cases": {"x": {}}},
        {"settings": {}, "cases": {"x": {"seconds": 0}}},
        {"settings": {}, "cases": {"x": {"seconds": "3"}}},
    ],
)
@pytest.mark.parametrize(("version", "key"), [(1, "rows"), (2, "cases")])
def test_read_results_refuses_damaged_suites(tmp_path, suite, version, key):
    if isinstance(suite, dict) and "cases" in suite:
        suite = {"settings": {}, key: suite["cases"]}
    path = tmp_path / "bench.json"
    path.write_text(json.dumps({"kind": "bench", "schema_version": version, "suites": {"scoring": suite}}))
    with pytest.raises(RecipeError, match="the benchmark results are damaged: scoring"):
        results.read_results(path)
