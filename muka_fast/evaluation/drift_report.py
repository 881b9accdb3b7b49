"""New texts compared with the pool as one self-contained HTML page: charts and rows for ``templates/drift.html``."""

from __future__ import annotations

from markupsafe import Markup

from muka_fast.evaluation.drift_record import Drift, Shares
from muka_fast.evaluation.rendering import render, style_sheet
from muka_fast.evaluation.svg_charts import Axis, bars, line
from muka_fast.evaluation.tables import percent

MOST = 30
"""Rows of a table of shares."""


def drift_page(drift: Drift) -> str:
    """Return a comparison as one HTML file that loads nothing from outside."""
    reference = drift.reference
    return render(
        "drift.html",
        drift=drift,
        style=style_sheet(),
        confidence=Markup(_confidence_chart(drift)),
        teachers=Markup(bars("New texts by teacher", _bars(drift.teachers))),
        class_rows=share_rows(drift.classes)[:MOST],
        least=percent(reference.below_threshold / reference.texts),
    )


def share_rows(shares: Shares) -> list[tuple[str, str, str]]:
    """Return name, new share and share of the pool, the largest change first."""
    new, old = (_normalised(counts) for counts in (shares.counts, shares.reference_counts))
    rows = sorted(zip(shares.names, new, old, strict=True), key=lambda row: -abs(row[1] - row[2]))
    return [(name, percent(now), percent(before)) for name, now, before in rows]


def _normalised(counts: list[int]) -> list[float]:
    return [count / max(1, sum(counts)) for count in counts]


def _bars(shares: Shares) -> list[tuple[str, float, str]]:
    new, old = (_normalised(counts) for counts in (shares.counts, shares.reference_counts))
    return [
        (name, now, f"{percent(now)}, pool {percent(before)}")
        for name, now, before in zip(shares.names, new, old, strict=True)
    ]


def _confidence_chart(drift: Drift) -> str:
    edges = [0.0, *drift.reference.confidence_edges, 1.0]

    def cumulative(counts: list[int]) -> list[tuple[float, float]]:
        total, points = 0, [(0.0, 0.0)]
        for edge, count in zip(edges[1:], counts, strict=True):
            total += count
            points.append((edge, 100 * total / max(1, sum(counts))))
        return points

    series = {"other": cumulative(drift.reference.confidence), "chosen": cumulative(drift.confidence.counts)}
    return line("Texts up to a confidence", Axis("confidence", 1), "texts, %", series)
