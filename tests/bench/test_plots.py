import pytest

from muka_fast.bench import plots


def test_plot_draws_a_figure_per_suite(tmp_path):
    pytest.importorskip("matplotlib")
    cases = {"engine, full": {"seconds": 0.1}, "MUKI reference": {"seconds": 1.0}, "baal": {"missing": "no"}}
    curves = {f"passes = {n}": {"seconds": n, "curve": "passes", "size": n} for n in (1, 2, 4)}
    suites = {
        "scoring": {"unit": "text", "cases": cases},
        "scaling": {"unit": "run", "cases": curves, "settings": {"exponents": {"passes": 1.0}}},
    }
    written = plots.plot({"suites": suites, "device": "cpu"}, tmp_path)
    assert {path.name for path in written} == {"scoring.png", "scoring.svg", "scaling.png", "scaling.svg"}
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MUKI reference, K = 16", True),
        ("batched PyTorch, no dropout", True),
        ("attention, eager", True),
        ("attention", False),
        ("engine, full", False),
        ("stored targets", False),
    ],
)
def test_is_baseline(name, expected):
    assert plots.is_baseline(name) is expected
