"""A run's results for people: tables, single lines, and the model card."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from muka_fast.config.recipe import Recipe
from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.markdown import markdown_table
from muka_fast.evaluation.run_record import CalibrationRecord, Evaluation, Fidelity, RunRecord

SHARES = (0.5, 0.8, 1.0)
"""Coverages of the printed error rates."""
LOW_FIDELITY = 0.5
"""Agreement with the targets below which a hint is printed."""


def terminal_table(header: Sequence[str], rows: Sequence[Sequence[str]], title: str | None = None) -> Table:
    """Return a table for a terminal, the first column to the left, the others to the right."""
    table = Table(title=title, box=box.SIMPLE, title_justify="left", title_style="bold")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def duration(seconds: float) -> str:
    """Write a duration in the unit a person would."""
    minutes = seconds / 60
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def percent(share: float | None) -> str:
    """Write a share as a percentage with one decimal, or a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def result_rows(test: Evaluation) -> list[tuple[str, str, str]]:
    """Return (what, accuracy, remark) for teachers, oracle, selection and student."""
    rows, selection = [], test.selection
    if selection is not None:
        for name, accuracy in selection.teachers.items():
            remark = f"own classes: {percent(selection.own_classes[name])}"
            rows.append((f"teacher {name} alone", percent(accuracy), remark))
        rows.append(("oracle (right teacher chosen)", percent(selection.oracle), ""))
        routing = selection.routing_accuracy
        remark = f"right teacher: {percent(routing)}" if routing is not None else ""
        rows.append(("selection (teachers by trust)", percent(selection.selection), remark))
    rows.append((test.classifier, percent(test.metrics.accuracy), f"macro-F1: {percent(test.metrics.macro_f1)}"))
    return rows


def fidelity_line(fidelity: Fidelity) -> str:
    """Write the agreement of student and targets; below 0.5, with what may raise it."""
    which = "held-out" if fidelity.held_out else "training"
    text = f"fidelity: student and targets agree on {percent(fidelity.agreement)} of {fidelity.texts} {which} texts"
    low = fidelity.agreement < LOW_FIDELITY
    return text + ("; more training.epochs or a larger training.learning_rate may help" if low else "")


def calibration_line(test: Evaluation) -> str:
    """Write the calibration error, and the error rates of the most confident 50, 80 and 100 % of the texts."""
    error = f"expected calibration error {percent(test.expected_calibration_error)}"
    risks = [next(risk for coverage, risk in test.risk_coverage if coverage >= share - 1e-9) for share in SHARES]
    shares, rates = (
        ", ".join(f"{100 * value:.{digits}f}" for value in values) for values, digits in ((SHARES, 0), (risks, 1))
    )
    return f"{error}; error rate on the most confident {shares} % of the texts: {rates} %"


def _readout_line(calibration: CalibrationRecord) -> str:
    """Write what muka-fast does to the student's logits and a transformers pipeline does not."""
    temperature, threshold = calibration.temperature, calibration.abstain_below
    done = [f"divides the logits by the temperature {temperature:.3g}"] if temperature != 1 else []
    done += [f"predicts no class below a probability of {threshold:g}"] if threshold else []
    return f"\n\nThe latter {' and '.join(done)}; a pipeline does not." if done else ""


def model_card(recipe: Recipe, space: LabelSpace, record: RunRecord) -> str:
    """Return the output's README.md: how to use it, teachers, metrics, classes, and the recipe."""
    teachers = [
        [
            teacher.name,
            teacher.model + (f" @ {teacher.revision[:12]}" if teacher.revision else ""),
            str(teacher.num_labels),
            percent(teacher.chosen_share),
            percent(teacher.truncated_share),
        ]
        for teacher in record.teachers
    ]
    library = "transformers"
    predict = '```\nmuka-fast predict path/to/this/folder "a text"\n```'
    usage = (
        "```python\nfrom transformers import pipeline\n\n"
        'classify = pipeline("text-classification", model="path/to/this/folder", truncation=True)\n```\n\n'
        f"or\n\n{predict}{_readout_line(record.calibration)}"
    )
    if record.training is None:
        library = "muka-fast"
        usage = (
            "There is no student: the teachers answer, weighted by the probability that each is in-domain.\n"
            f"They, and the encoder that student.model names, must stay in place.\n\n{predict}"
        )
    parts = [
        f"---\nlibrary_name: {library}\npipeline_tag: text-classification\ntags: [muka-fast]\n---",
        f"# A classifier over {len(space)} classes, merged from {len(space.teachers)} teachers",
        f"Made by muka-fast from fine-tuned classifiers and {record.texts.used} unlabelled texts; no label was used.",
        usage,
        "## Teachers",
        markdown_table(["teacher", "model", "labels", "most trusted for", "texts cut"], teachers),
    ]
    if test := record.test:
        parts += [
            f"## Measured on {test.metrics.count} labelled texts",
            markdown_table(["", "accuracy", ""], result_rows(test)),
            f"Confidence: {calibration_line(test)}.",
        ]
        if test.unknown_labels:
            parts.append(f"{sum(test.unknown_labels.values())} texts with labels outside the label space are left out.")
    parts += [
        "## Classes",
        markdown_table(["class", "known to"], list(zip(space.names, space.known_to(), strict=True))),
        "## Recipe",
        f"```yaml\n{recipe.dump()}```",
    ]
    return "\n\n".join(parts) + "\n"
