import re

import pytest

from muka_fast.evaluation.svg_charts import Axis, bars, histogram, line


@pytest.mark.parametrize(
    ("axis", "ticks", "high"),
    [
        (Axis("share", 1), [0, 0.2, 0.4, 0.6, 0.8, 1.0], 1.0),
        (Axis("texts", 3, whole=True), [0, 1, 2, 3], 3),
        (Axis("texts", 1, whole=True), [0, 1], 1),
        (Axis("texts", 1234, whole=True), [0, 500, 1000], 1500),
        (Axis("loss", 0.043), [0, 0.01, 0.02, 0.03, 0.04], 0.05),
    ],
)
def test_ticks(axis, ticks, high):
    assert axis.ticks == pytest.approx(ticks)
    assert axis.rounded().high == pytest.approx(high)


def test_bars_are_as_long_as_their_values():
    drawn = bars("time", [("one", 10.0, "10 s"), ("two", 2.5, "2.5 s"), ("three", 0.0, "0 s")])
    assert re.findall(r'class="chosen" y="\d+" width="([\d.]+)"', drawn) == ["360.0", "90.0", "0.0"]


def test_long_names_are_cut_and_kept_in_the_hint():
    drawn = bars("time", [("n" * 36, 1.0, "1 s"), ("m" * 37, 1.0, "1 s")])
    assert f">{'n' * 36}<" in drawn
    assert f">{'m' * 35}…<" in drawn
    assert f"<title>{'m' * 37}: 1 s</title>" in drawn


def test_histograms_stack_their_series():
    # The axis ends at 40,000 and is 138 high: 20,000 are 69, and 10,000 on top of them end at 162 − 103.5.
    drawn = histogram("texts", "share", {"chosen": [20_000, 0], "other": [10_000, 40_000]})
    assert re.findall(r'<rect class="(\w+)" x="[\d.]+" y="([\d.]+)" width="151.0" height="([\d.]+)"', drawn) == [
        ("chosen", "93.0", "69.0"),
        ("other", "58.5", "34.5"),
        ("other", "24.0", "138.0"),
    ]
    assert ">10k<" in drawn
    assert "<title>0.00 to 0.50: 20,000 + 10,000 texts</title>" in drawn


def test_an_empty_histogram_can_be_drawn():
    assert "<rect" not in histogram("texts", "share", {"chosen": [0, 0]})


def test_lines_go_through_their_points():
    # The axes run over 46…350 and 162…24.
    drawn = line("loss", Axis("steps", 200, whole=True), "loss", {"chosen": [(0, 4.0), (100, 2.0), (200, 0.0)]})
    assert 'points="46.0,24.0 198.0,93.0 350.0,162.0"' in drawn
    assert "<title>100: 2</title>" in drawn


def test_names_are_escaped():
    drawn = bars("<t>", [("<n>", 1.0, "<w>")]) + histogram("<t>", "<u>", {"chosen": [1]})
    assert not re.search("<[tnwu]>", drawn)
    assert "&lt;n&gt;: &lt;w&gt;" in drawn
