import time

import pytest
import torch

from muka_fast.bench import results, timer
from muka_fast.bench.timer import PEER, MachinePeaks, Row, Suite, Work, figures, measure

CPU = torch.device("cpu")
TOPS = MachinePeaks({"fp32": 100.0, "bf16": 400.0}, 10.0, (1, 2, 3))


def settled(rows, tops=TOPS):
    record = {"suites": {"scoring": {"rows": rows}}}
    results.settle(record, tops)
    return record


def test_the_floor_is_the_larger_of_two_bounds():
    tops = settled({})["ceilings"]
    work = {"flops": 200.0, "bytes": 10.0}
    assert results.floor(work | {"precision": "fp32"}, tops) == (2.0, "products")
    assert results.floor(work | {"precision": "bf16"}, tops) == (1.0, "bytes")


def test_figures_by_hand():
    row = Row("one", lambda: lambda: None, units=4, work=Work(flops=400), passes=16)
    found = figures(row, [1.0, 2.0, 4.0])
    settled({"one": found})
    assert found["seconds"] == 2.0
    assert found["quartiles"] == [1.5, 3.0]
    assert found["per_second"] == 0.5
    assert found["passes_per_second"] == 8
    # 400 operations at 100 a second are 4 s, 1 s a unit; it took 2.
    assert (found["share_of_floor"], found["bound_by"]) == (0.5, "products")
    plain = figures(Row("two", lambda: lambda: None, 1, passes=None), [1.0])
    settled({"two": plain, "three": {"missing": "no"}})
    assert not {"work", "share_of_floor", "passes_per_second"} & set(plain)


def test_rows_take_turns_and_a_missing_peer_says_so():
    told: list[str] = []

    def recording(name):
        return lambda: lambda: told.append(name)

    def absent():
        raise ImportError("no module named peer\nmore")

    rows = [Row("a", recording("a"), 1), Row("b", recording("b"), 1), Row("peer", absent, 1, excused=PEER)]
    found = measure(Suite("call", rows, ()), TOPS, CPU, repeats=2, log=lambda _: None)
    assert told == ["a", "b", "a", "b", "a", "b"]  # once to warm up, then in turns
    assert found["peer"] == {"missing": "ImportError: no module named peer"}
    assert found["a"]["repeats"] == 2
    assert found["a"]["cold_seconds"] > 0


def test_an_error_of_our_own_is_not_hidden():
    def broken():
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        measure(Suite("call", [Row("ours", broken, 1)], ()), TOPS, CPU, log=lambda _: None)


def test_a_failing_row_leaves_the_others_where_that_is_asked_for():
    def after(runs):
        left = iter(range(runs))

        def run():
            if next(left, None) is None:
                raise ValueError("wrong\nmore")

        return lambda: run

    def unavailable():
        raise ImportError("no module")

    rows = [
        Row("at once", after(0), 1),
        Row("in the second turn", after(2), 1),
        Row("peer", unavailable, 1, excused=PEER),
        Row("whole", after(9), 1),
    ]
    suite = Suite("call", rows, ())
    with pytest.raises(ValueError, match="wrong"):
        measure(suite, TOPS, CPU, log=lambda _: None)
    failed, kept = [], []
    found = measure(
        suite,
        TOPS,
        CPU,
        repeats=3,
        log=lambda _: None,
        failed=lambda name, error: failed.append((name, type(error))),
        keep=kept.append,
    )
    assert failed == [("at once", ValueError), ("in the second turn", ValueError)]
    assert [found[row.name].get("missing") for row in rows] == [
        "ValueError: wrong", "ValueError: wrong", "ImportError: no module", None,
    ]  # fmt: skip
    assert found["whole"]["repeats"] == 3
    # After every row's set-up and every turn, each time with every row.
    assert len(kept) == 7
    assert all(list(each) == list(found) for each in kept)
    assert kept[0]["whole"] == {"missing": "not timed yet"}
    assert kept[4]["in the second turn"]["repeats"] == kept[4]["whole"]["repeats"] == 1
    assert kept[-1] == found


def test_no_turn_begins_after_the_time_is_up():
    slow = [Row(name, lambda: lambda: time.sleep(0.02), 1) for name in ("one", "two")]

    def turns(**limits):
        found = measure(Suite("call", slow, ()), TOPS, CPU, repeats=50, log=lambda _: None, **limits)
        return {name: row.get("repeats", row.get("missing")) for name, row in found.items()}

    assert turns(seconds=0.01) == {"one": 3, "two": 3}  # enough for quartiles
    assert turns(seconds=0.01, least=1) == {"one": 1, "two": 1}
    assert turns(deadline=time.perf_counter() - 1) == dict.fromkeys(("one", "two"), "no time was left")
    ends_in_set_up = turns(deadline=time.perf_counter() + 0.01)
    assert ends_in_set_up == {"one": 1, "two": "no time was left"}


def test_set_up_does_not_count_as_time():
    def set_up():
        time.sleep(0.1)
        return lambda: None

    found = measure(Suite("call", [Row("one", set_up, 1)], ()), TOPS, CPU, repeats=5, seconds=0.05, log=lambda _: None)
    assert found["one"]["repeats"] == 5
    assert found["one"]["cold_seconds"] > 0.1


def test_a_ceiling_is_the_largest_of_all_turns():
    speeds = iter([({"fp32": 150.0}, 5.0), ({"fp32": 120.0}, 20.0)])
    tops = MachinePeaks({"fp32": 100.0}, 10.0, (1, 2, 3), lambda: next(speeds))
    row = Row("one", lambda: lambda: time.sleep(0.01), 1, Work(flops=1.0))
    found = measure(Suite("call", [row], ()), tops, CPU, repeats=2, log=lambda _: None)
    assert (tops.products["fp32"], tops.copy) == (150.0, 20.0)
    settled(found, tops)
    assert found["one"]["share_of_floor"] == pytest.approx(1 / 150 / found["one"]["seconds"])


def test_ceilings_are_measured(monkeypatch):
    monkeypatch.setitem(timer.PRODUCTS, "cpu", (8, 32, 64))
    monkeypatch.setitem(timer.COPIES, "cpu", 1024)
    found = MachinePeaks.measure(CPU)
    assert found.product == (8, 32, 64)
    assert set(found.products) == ({"fp32"})
    assert min(found.products["fp32"], found.copy) > 0
