"""The model card: the output's README.md, from ``templates/model_card.md``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from muka_fast.config.portable import portable_recipe
from muka_fast.config.recipe import Recipe
from muka_fast.evaluation.card_metadata import card_metadata
from muka_fast.evaluation.rendering import render
from muka_fast.evaluation.run_record import CalibrationRecord, RunRecord, TeacherRecord
from muka_fast.evaluation.tables import calibration_line, markdown_table, percent, result_rows
from muka_fast.runtime.printable import markdown_text, printable


def model_card(record: RunRecord, recipe: Recipe) -> str:
    """Return how to use the output, its teachers, metrics and classes, and the recipe without paths of the machine.

    Args:
        record: The run's record.
        recipe: The resolved recipe.
    """
    text = printable(portable_recipe(recipe.model_dump(mode="json")).text, keep="\n")
    names = record.selection.teachers
    known_to = [", ".join(names[teacher] for teacher in teachers) for teachers in record.selection.known_to]
    return render(
        "model_card.md",
        record=record,
        metadata=card_metadata(record, recipe),
        recipe=text,
        fence=_fence(text),
        labelled=record.labelled_texts,
        calibration_line=calibration_line(record.test) if record.test else "",
        calibration_steps=_calibration_steps(record.calibration),
        folded_temperature=record.calibration.folded_temperature,
        class_rows=[_shown(row) for row in zip(record.labels, known_to, strict=True)],
        markdown_table=markdown_table,
        result_rows=[_shown(row) for row in result_rows(record.test)] if record.test else [],
        teacher_rows=[_teacher_row(teacher) for teacher in record.teachers],
    )


def _calibration_steps(calibration: CalibrationRecord) -> list[str]:
    """Return what muka-fast does to the student's logits and a transformers pipeline does not."""
    temperature, threshold = calibration.temperature, calibration.abstain_below
    steps = [f"divides the logits by the temperature {temperature:.3g}"] if temperature != 1 else []
    return steps + ([f"predicts no class below a probability of {threshold:g}"] if threshold else [])


def _shown(cells: Sequence[str]) -> list[str]:
    return [markdown_text(cell) for cell in cells]


def _fence(text: str) -> str:
    """Return a fence of backticks that the text does not end."""
    return "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))


def _source(teacher: TeacherRecord) -> str:
    if teacher.kind == "predictions":
        return f"predictions: {markdown_text(teacher.model)}"
    return markdown_text(teacher.model) + (f" @ {markdown_text(teacher.revision[:12])}" if teacher.revision else "")


def _teacher_row(teacher: TeacherRecord) -> list[str]:
    return [
        markdown_text(teacher.name),
        _source(teacher),
        str(teacher.num_labels),
        percent(teacher.chosen_share),
        percent(teacher.truncated_share if teacher.max_length is not None else None),
    ]
