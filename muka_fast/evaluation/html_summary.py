"""A run as a small HTML table, for the output of a notebook's cell."""

from __future__ import annotations

from muka_fast.evaluation.rendering import render
from muka_fast.evaluation.run_record import RunRecord
from muka_fast.evaluation.tables import percent
from muka_fast.runtime.printable import printable


def summary_html(record: RunRecord, output: str) -> str:
    """Return teachers, classes, shares of the texts and, where they were measured, accuracies as HTML.

    Args:
        record: The run's record.
        output: The run's folder.
    """
    test = record.test
    measured = None if test is None else test.selection
    rows = [
        (
            f"teacher {printable(teacher.name)}",
            str(teacher.num_labels),
            percent(teacher.chosen_share),
            percent(None if measured is None else measured.own_classes.get(teacher.name)),
        )
        for teacher in record.teachers
    ]
    accuracy = None if test is None else test.metrics.accuracy
    rows.append(("student" if record.training else "ensemble", str(len(record.labels)), "", percent(accuracy)))
    return render(
        "summary.html",
        rows=rows,
        output=printable(output),
        unlabelled=record.texts.used - record.labelled_texts,
        labelled=record.labelled_texts,
        measured=test is not None,
    )
