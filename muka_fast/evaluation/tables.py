"""A run's results for people: tables for terminals and Markdown, and single lines."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from muka_fast.runtime.printable import TERMINAL_WIDTH, broken_lines, duration

if TYPE_CHECKING:  # the bench writes its tables where there is neither pydantic nor rich
    from rich.table import Table

    from muka_fast.evaluation.evaluation_record import ClassMetrics, Evaluation
    from muka_fast.evaluation.run_record import Fidelity, RunRecord

_BAR = re.compile(r"(?<!\\)\|")
SHARES = (0.5, 0.8, 1.0)
"""Coverages of the printed error rates."""
LEAST_SECONDS = 0.5
"""Time of a stage that is worth a word."""
SHORT_CELL = 10
"""Characters of a cell that is not broken at spaces."""
LOW_FIDELITY = 0.5
"""Agreement with the targets below which a hint is printed."""


def terminal_table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    title: str | None = None,
    *,
    width: int = TERMINAL_WIDTH,
) -> Table | str:
    """Return a table for a terminal, the first column to the left, the others to the right.

    Args:
        header: Names of the columns.
        rows: Cells.
        title: A line above the table.
        width: Columns of the terminal. If a word of a header or a number would be broken, each row becomes a paragraph.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.table import Table

    columns = [[row[index] for row in rows] for index in range(len(header))]
    parts = [
        [*name.split(), *(part for cell in column for part in _unbreakable(cell))]
        for name, column in zip(header, columns, strict=True)
    ]
    widths = [max(map(cell_len, part), default=0) for part in parts]
    spare = width - sum(widths) - 3 * len(widths) - 1  # a space on each side of a cell, one between cells, and the ends
    if spare < 0:
        lines = [] if title is None else [title]
        for row in rows:
            cells = [f"{name}: {cell}" if name else cell for name, cell in zip(header, row, strict=True) if cell]
            lines.append(broken_lines(f"  {'; '.join(cells)}", width))
        return "\n".join(lines)
    table = Table(title=title, box=box.SIMPLE, title_justify="left", title_style="bold")
    for index, column in enumerate(columns):
        more = min(spare, max(map(cell_len, [header[index], *column])) - widths[index])
        spare -= more
        table.add_column(
            header[index], justify="left" if index == 0 else "right", overflow="fold", width=widths[index] + more
        )
    for row in rows:
        table.add_row(*row)
    return table


def _unbreakable(cell: str) -> list[str]:
    """Return the parts of a cell that belong on one line: its words, or all of it if it is short, such as 12.3 %."""
    return [cell] if len(cell) <= SHORT_CELL else cell.split()


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a GitHub-style table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(_BAR.sub(r"\\|", cell) for cell in line) + " |" for line in lines)


def percent(share: float | None) -> str:
    """Write a share as a percentage with one decimal, or a dash."""
    return "–" if share is None else f"{100 * share:.1f} %"


def result_rows(test: Evaluation) -> list[tuple[str, str, str]]:
    """Return (what, accuracy, note) for teachers, oracle, selection and student."""
    rows, selection = [], test.selection
    if selection is not None:
        for name, accuracy in selection.teachers.items():
            note = f"own classes: {percent(selection.own_classes[name])}"
            if name in selection.answered:
                note += f"; of {selection.answered[name]} texts with a prediction"
            if accuracy is None:
                note = "not measured: it has no prediction for these texts"
            rows.append((f"teacher {name} alone", percent(accuracy), note))
        fewer = selection.measured is not None and selection.measured < test.metrics.count
        of = f"of {selection.measured} texts that a teacher has a prediction for" if fewer else ""
        rows.append(("oracle (right teacher chosen)", percent(selection.oracle), of))
        routing = selection.routing_accuracy
        note = f"right teacher: {percent(routing)}" if routing is not None else ""
        note = "; ".join(part for part in (note, of) if part)
        rows.append(("selection (teachers by trust)", percent(selection.selection), note))
    rows.append((test.classifier, percent(test.metrics.accuracy), f"macro-F1: {percent(test.metrics.macro_f1)}"))
    return rows


def weakest_classes(test: Evaluation, count: int = 10) -> list[ClassMetrics]:
    """Return the classes of lowest F1 below 1, lowest first; of equal ones, that with the most texts comes first.

    The pairs of classes that are confused most are ``test.confused``, sorted already.

    Args:
        test: An evaluation.
        count: How many classes at most.
    """
    ranked = sorted(test.metrics.classes, key=lambda one: (one.f1, -one.support))
    return [one for one in ranked if one.f1 < 1][:count]


def chosen_line(record: RunRecord) -> str:
    """Write for how many of the texts each teacher has the largest weight."""
    chosen = ", ".join(f"{teacher.name} {percent(teacher.chosen_share)}" for teacher in record.teachers)
    return f"most trusted on the {record.texts.used} unlabelled texts: {chosen}"


def summary_lines(record: RunRecord) -> list[str]:
    """Return what a run chose and how long it took, for the end of a run."""
    lines = [chosen_line(record)]
    reliability = record.selection.reliability
    if reliability is not None:
        lines.append(
            f"estimated recall of the choice, without labels: mean {percent(reliability.recall)}, "
            f"lowest {percent(reliability.lowest)}{'; it is in doubt' if reliability.in_doubt else ''}"
        )
    stages = ", ".join(
        f"{stage} {duration(value)}" for stage, value in record.seconds.items() if value >= LEAST_SECONDS
    )
    return [*lines, f"time: {duration(sum(record.seconds.values()))}{f' ({stages})' if stages else ''}"]


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
