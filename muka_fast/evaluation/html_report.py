"""The run's record as one self-contained HTML page: charts and rows for ``templates/report.html``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from muka_fast.evaluation.evaluation_record import Evaluation
from muka_fast.evaluation.rendering import render, style_sheet
from muka_fast.evaluation.run_record import RunRecord, TeacherRecord, TrainingRecord
from muka_fast.evaluation.selection_record import SelectionStats, TeacherVote, UncertainText
from muka_fast.evaluation.svg_charts import Axis, bars, histogram, line
from muka_fast.evaluation.tables import percent, result_rows, weakest_classes

WEAKEST = 20
"""Classes of lowest F1 that the page lists, at most."""


@dataclass(frozen=True)
class _Charts:
    """The charts of the page, as inline SVG; None where the record has no values for them."""

    chosen: Markup | None
    margin: Markup | None
    entropy: list[tuple[str, Markup]]
    passes: Markup | None
    confidence: Markup | None
    risk: Markup | None
    seconds: Markup
    loss: Markup | None


def report_page(record: RunRecord, recipe: str) -> str:
    """Return a run as one HTML file that loads nothing from outside.

    Args:
        record: The run's record.
        recipe: The resolved recipe, YAML.
    """
    selection = record.selection
    environment = record.versions | {"device": record.device, "processes": record.processes, "seed": record.seed}
    return render(
        "report.html",
        record=record,
        recipe=recipe,
        style=style_sheet(),
        charts=_charts(record),
        diagonal_share=_diagonal_share,
        environment=list(environment.items()),
        label_groups=_label_groups(record),
        result_rows=result_rows(record.test) if record.test else [],
        weakest=WEAKEST,
        confused_rows=[
            [pair.true, pair.predicted, f"{pair.count:,}"] for pair in (record.test.confused if record.test else [])
        ],
        class_rows=_class_rows(record.test) if record.test else [],
        teacher_rows=[_teacher_row(teacher) for teacher in record.teachers],
        votes=[_votes(selection, text) for text in selection.least_certain],
    )


def _charts(record: RunRecord) -> _Charts:
    selection = record.selection
    chosen = [
        (name, count, f"{count:,} texts, {percent(share)}")
        for name, count, share in zip(selection.teachers, selection.chosen, selection.chosen_share, strict=True)
    ]
    margin = "largest weight minus second largest"
    passes = [(f"{number:,} passes", count, f"{count:,} texts") for number, count in selection.passes]
    seconds = [(name, value, f"{value:,.1f} s") for name, value in record.seconds.items()]
    return _Charts(
        chosen=Markup(bars("Texts by teacher of largest weight", chosen)) if sum(selection.chosen) else None,
        margin=_histogram("Texts by margin of the weights", margin, {"chosen": selection.margin}),
        entropy=_entropy_charts(selection),
        passes=Markup(bars("Texts by passes used", passes)) if any(number for number, _ in selection.passes) else None,
        confidence=_confidence_chart(record),
        risk=_risk_chart(record.test) if record.test else None,
        seconds=Markup(bars("Seconds by stage", seconds)),
        loss=_loss_chart(record.training) if record.training else None,
    )


def _histogram(title: str, unit: str, series: dict[str, list[int]]) -> Markup | None:
    """Return a histogram; None if it counts no text."""
    return Markup(histogram(title, unit, series)) if any(map(sum, series.values())) else None


def _entropy_charts(selection: SelectionStats) -> list[tuple[str, Markup]]:
    charts = [
        (name, _histogram(f"Predictive entropy of {name}", "predictive entropy / ln C", texts.model_dump()))
        for name, texts in zip(selection.teachers, selection.entropy, strict=True)
    ]
    return [(name, chart) for name, chart in charts if chart is not None]


def _confidence_chart(record: RunRecord) -> Markup | None:
    """Return the confidence on the labelled texts or, without labels, on the sample of the pool."""
    title, unit = "Texts by confidence", "probability of the predicted class"
    if record.test is not None:
        found = record.test.confidence
        return None if found is None else _histogram(title, unit, {"chosen": found.right, "other": found.wrong})
    reference = None if record.training is None else record.training.reference
    if reference is None or reference.confidence_histogram is None:
        return None
    return _histogram(title, unit, {"chosen": reference.confidence_histogram})


def _risk_chart(test: Evaluation) -> Markup:
    points = [(100 * coverage, 100 * risk) for coverage, risk in test.risk_coverage]
    coverage = Axis("texts answered, most confident first, %", 100)
    return Markup(line("Error rate by share of texts answered", coverage, "error rate, %", {"chosen": points}))


def _loss_chart(training: TrainingRecord) -> Markup | None:
    # A rounded divergence may lie a little below zero.
    losses = {
        "other": [(entry.step, max(0.0, entry.loss)) for entry in training.history if entry.loss is not None],
        "chosen": [(e.step, max(0.0, e.eval_loss)) for e in training.history if e.eval_loss is not None],
    }
    series = {kind: points for kind, points in losses.items() if points}
    if not series:
        return None
    steps = Axis("optimiser steps", max(step for points in series.values() for step, _ in points), True)
    return Markup(line("Loss by step", steps, "distillation loss", series))


def _class_rows(test: Evaluation) -> list[list[str]]:
    return [
        [one.name, percent(one.f1), percent(one.recall), percent(one.precision), f"{one.support:,}"]
        for one in weakest_classes(test, WEAKEST)
    ]


def _diagonal_share(counts: Sequence[Sequence[int]]) -> float:
    return sum(row[index] for index, row in enumerate(counts)) / max(1, sum(map(sum, counts)))


def _label_groups(record: RunRecord) -> dict[str, list[str]]:
    """Return the classes by label group: the teachers that know them, joined by " + "."""
    names = record.selection.teachers
    groups: dict[str, list[str]] = {}
    for label, known_to in zip(record.labels, record.selection.known_to, strict=True):
        groups.setdefault(" + ".join(names[teacher] for teacher in known_to), []).append(label)
    return groups


def _teacher_row(teacher: TeacherRecord) -> list[str]:
    return [
        teacher.name,
        f"predictions: {teacher.model}" if teacher.kind == "predictions" else teacher.model,
        f"{teacher.num_labels:,}",
        "–" if teacher.max_length is None else f"{teacher.max_length:,}",
        percent(teacher.truncated_share if teacher.max_length is not None else None),
        f"{teacher.mean_passes:.1f}" if teacher.kind == "model" else "–",
        percent(teacher.chosen_share),
    ]


def _votes(selection: SelectionStats, text: UncertainText) -> list[tuple[str, TeacherVote]]:
    """Return the teachers' votes on a text, largest weight first."""
    # A teacher of weight 0 has no prediction for the text, or the share 0.
    votes = [vote for vote in zip(selection.teachers, text.teachers, strict=True) if vote[1].weight > 0]
    return sorted(votes, key=lambda vote: -vote[1].weight)
