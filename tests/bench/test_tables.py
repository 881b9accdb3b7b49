import pytest

from muka_fast.bench import tables


def test_quartiles_are_shown_of_three_turns_or_more():
    case = {"seconds": 1.0, "quartiles": [0.5, 2.0], "per_second": 1.0, "cold_seconds": 3.0, "backend": "torch"}
    for repeats, header, cell in (
        (1, "quartiles of 1 turn", "–"),
        (2, "quartiles of 2 turns", "–"),
        (3, "quartiles of 3 turns", "500 ms…2 s"),
    ):
        suite = {"unit": "call", "baselines": [], "cases": {"ours": case | {"repeats": repeats}}}
        names, (cells,) = tables.suite_table("kernels", suite)
        assert dict(zip(names, cells, strict=True)) == {
            "case": "ours (torch)", "time per call": "1 s", header: cell, "per second": "1", "% of roofline": "–",
            "bound": "–", "cold start": "3 s",
        }  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(1623.0, "1,623 s"), (12.34, "12.3 s"), (0.0123, "12.3 ms"), (4.2e-5, "42 µs"), (5e-9, "5 ns")],
)
def test_seconds_text_has_a_unit(seconds, shown):
    assert tables.seconds_text(seconds) == shown


def test_a_suite_that_did_not_run_is_one_line():
    def suite(*reasons):
        cases = {f"case {n}": {"missing": reason} for n, reason in enumerate(reasons)}
        return {"unit": "text", "baselines": [], "settings": {"texts": 3}, "cases": cases}

    assert tables.missing_lines(suite("no time", "no time")) == ["not run: no time"]
    assert tables.missing_lines(suite("no time")) == ["case 0: not run, no time"]
    assert len(tables.missing_lines(suite("no time", "not installed"))) == 2
    page = tables.markdown({"device": "this", "suites": {"scoring": suite("no time", "no time")}})
    assert page == "this.\n\n### scoring\n\ntexts 3.\n\nnot run: no time\n"
