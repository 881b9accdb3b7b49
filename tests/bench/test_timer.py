"""Interleaved timing, on a clock that the test moves."""

import pytest
import torch

from muka_fast.bench.peaks import MachinePeaks
from muka_fast.bench.results import add_roofline
from muka_fast.bench.timer import BASELINE_ERRORS, Case, Limits, Suite, Work, measure, timing_record

CPU = torch.device("cpu")
PEAKS = MachinePeaks({"fp32": 100.0}, 10.0, (1, 2, 3))


class Clock:
    """Stands still except when something takes time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def take(self, seconds):
        self.now += seconds


def taking(clock, name, seconds, set_up=0.0):
    """A case whose set-up and runs take time."""

    def build():
        clock.take(set_up)
        return lambda: clock.take(seconds)

    return Case(name, build, 1)


def turns(clock, limits, cases):
    found = measure(Suite("call", cases, ()), PEAKS, CPU, limits, clock=clock)
    return {name: record.get("repeats", record.get("missing")) for name, record in found.items()}


def test_timing_record():
    case = Case("one", lambda: lambda: None, units=4, work=Work(flops=400), passes=16)
    record = timing_record(case, [1.0, 2.0, 4.0])
    assert record["seconds"] == 2.0
    assert record["quartiles"] == [1.5, 3.0]
    assert record["per_second"] == 0.5
    assert record["passes_per_second"] == 8
    assert record["work"] == {"flops": 100.0, "bytes": 0.0, "precision": "fp32"}
    plain = timing_record(Case("two", lambda: lambda: None, 1, passes=None), [1.0])
    assert not {"work", "passes_per_second"} & set(plain)


def test_measure_interleaves_cases_and_records_a_missing_baseline():
    runs: list[str] = []

    def recording(name):
        return lambda: lambda: runs.append(name)

    def absent():
        raise ImportError("no module named peer\nmore")

    cases = [Case("a", recording("a"), 1), Case("b", recording("b"), 1)]
    cases.append(Case("peer", absent, 1, allowed_errors=BASELINE_ERRORS))
    found = measure(Suite("call", cases, ()), PEAKS, CPU, Limits(turns=2))
    assert runs == ["a", "b", "a", "b", "a", "b"]  # once to warm up, then in turns
    assert found["peer"] == {"missing": "ImportError: no module named peer"}
    assert found["a"]["repeats"] == 2


def test_measure_records_median_and_cold_start_of_the_clock():
    clock = Clock()
    found = measure(Suite("call", [taking(clock, "one", 0.5, set_up=3.0)], ()), PEAKS, CPU, clock=clock)
    assert (found["one"]["seconds"], found["one"]["cold_seconds"]) == (0.5, 3.5)


def test_measure_raises_an_error_that_is_not_allowed():
    def broken():
        raise RuntimeError("wrong")

    with pytest.raises(RuntimeError, match="wrong"):
        measure(Suite("call", [Case("ours", broken, 1)], ()), PEAKS, CPU)


def test_measure_leaves_a_failing_case_out_where_errors_are_received():
    def after(runs):
        left = iter(range(runs))

        def run():
            if next(left, None) is None:
                raise ValueError("wrong\nmore")

        return lambda: run

    def unavailable():
        raise ImportError("no module")

    cases = [
        Case("at once", after(0), 1),
        Case("in the second turn", after(2), 1),
        Case("peer", unavailable, 1, allowed_errors=BASELINE_ERRORS),
        Case("whole", after(9), 1),
    ]
    suite = Suite("call", cases, ())
    with pytest.raises(ValueError, match="wrong"):
        measure(suite, PEAKS, CPU)
    errors, updates = [], []
    found = measure(
        suite,
        PEAKS,
        CPU,
        on_error=lambda name, error: errors.append((name, type(error))),
        on_update=updates.append,
    )
    assert errors == [("at once", ValueError), ("in the second turn", ValueError)]
    assert [found[case.name].get("missing") for case in cases] == [
        "ValueError: wrong", "ValueError: wrong", "ImportError: no module", None,
    ]  # fmt: skip
    assert found["whole"]["repeats"] == 3
    # After the set-up of every case and after every turn, each time with every case.
    assert len(updates) == 7
    assert all(list(each) == list(found) for each in updates)
    assert updates[0]["whole"] == {"missing": "not timed yet"}
    assert updates[4]["in the second turn"]["repeats"] == updates[4]["whole"]["repeats"] == 1
    assert updates[-1] == found


def test_no_turn_begins_after_the_limit_but_the_least_number_is_made():
    clock = Clock()
    slow = [taking(clock, name, 1.0) for name in ("one", "two")]
    assert turns(clock, Limits(50, seconds=0.5), slow) == {"one": 3, "two": 3}  # enough for quartiles
    assert turns(clock, Limits(50, seconds=0.5, min_turns=1), slow) == {"one": 1, "two": 1}
    assert turns(clock, Limits(50, seconds=9.0, min_turns=1), slow) == {"one": 5, "two": 5}


def test_no_case_is_set_up_after_the_deadline():
    clock = Clock()
    slow = [taking(clock, name, 1.0) for name in ("one", "two")]
    passed = Limits(50, deadline=clock.now - 1)
    assert turns(clock, passed, slow) == dict.fromkeys(("one", "two"), "no time was left")
    in_set_up = Limits(50, deadline=clock.now + 0.5)
    assert turns(clock, in_set_up, slow) == {"one": 1, "two": "no time was left"}


def test_set_up_does_not_count_as_time():
    clock = Clock()
    assert turns(clock, Limits(5, seconds=3.0), [taking(clock, "one", 0.1, set_up=100.0)]) == {"one": 5}


def test_peaks_are_updated_in_every_turn():
    speeds = iter([({"fp32": 150.0}, 5.0), ({"fp32": 120.0}, 20.0)])
    peaks, clock = MachinePeaks({"fp32": 100.0}, 10.0, (1, 2, 3), lambda: next(speeds)), Clock()
    case = Case("one", lambda: lambda: clock.take(0.5), 1, Work(flops=1.0))
    found = measure(Suite("call", [case], ()), peaks, CPU, Limits(turns=2), clock=clock)
    assert (peaks.matmul["fp32"], peaks.copy) == (150.0, 20.0)
    add_roofline({"suites": {"scoring": {"cases": found}}}, peaks)
    assert found["one"]["roofline_share"] == pytest.approx(1 / 150 / 0.5)
