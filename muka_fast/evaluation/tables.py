"""What a run says of itself to people: tables, and the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table

from muka_fast.config.recipe import Recipe
from muka_fast.data.label_space import LabelSpace
from muka_fast.evaluation.markdown import markdown_table

SHARES = (0.5, 0.8, 1.0)
"""Of the texts, the surest first."""
LEARNED = 0.5
"""Agreement with the targets below which a student is said to have learned too little."""


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


def result_rows(test: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return (what, accuracy, remark) for teachers, oracle, selection and student, from ``run.json``'s ``test``."""
    judged, rows = test["selection"], []
    if judged is not None:
        for name, value in judged["teachers"].items():
            rows.append((f"teacher {name} alone", percent(value), f"own classes: {percent(judged['own'][name])}"))
        rows.append(("oracle (right teacher chosen)", percent(judged["oracle"]), ""))
        remark = f"right teacher: {percent(judged['chosen'])}" if judged["chosen"] is not None else ""
        rows.append(("selection (teachers by trust)", percent(judged["selection"]), remark))
    student = test["student"]
    who, remark = test.get("classifier", "student"), f"macro-F1: {percent(student['macro_f1'])}"
    rows.append((who, percent(student["accuracy"]), remark))
    return rows


def agreement_line(agreement: dict[str, Any]) -> str:
    """Say how far the student has learned its targets, from ``run.json``'s ``training``; what to do if hardly."""
    which = "held-out texts" if agreement["held_out"] else "texts it was trained on"
    told = f"the student says what its targets say for {percent(agreement['share'])} of {agreement['texts']} {which}"
    few = agreement["share"] < LEARNED
    return told + ("; more training.epochs or a larger training.learning_rate may help" if few else "")


def confidence_line(test: dict[str, Any]) -> str:
    """Say how far the confidence can be believed, from ``run.json``'s ``test``."""
    told = f"expected calibration error {percent(test['calibration_error'])}"
    points = [next(risk for covered, risk in test["risk_coverage"] if covered >= share - 1e-9) for share in SHARES]
    shares, risks = (
        ", ".join(f"{100 * value:.{digits}f}" for value in values) for values, digits in ((SHARES, 0), (points, 1))
    )
    return f"{told}; errors among the surest {shares} % of the texts: {risks} %"


def _readout_line(confidence: dict[str, float]) -> str:
    """Say what muka-fast does to the student's logits that a transformers pipeline does not."""
    temperature, threshold = confidence["temperature"], confidence["abstain_below"]
    done = [f"divides the logits by the temperature {temperature:.3g}"] if temperature != 1 else []
    done += [f"names no class below a probability of {threshold:g}"] if threshold else []
    return f"\n\nThe latter {' and '.join(done)}; a pipeline does not." if done else ""


def model_card(recipe: Recipe, space: LabelSpace, record: dict[str, Any]) -> str:
    """Return the output's README.md: what it was made from, how, its figures, and the recipe."""
    teachers = [
        [
            teacher["name"],
            teacher["model"] + (f" @ {teacher['revision'][:12]}" if teacher["revision"] else ""),
            str(teacher["labels"]),
            percent(teacher["chosen_share"]),
            percent(teacher["truncated_share"]),
        ]
        for teacher in record["teachers"]
    ]
    library = "transformers"
    predict = '```\nmuka-fast predict path/to/this/folder "a text"\n```'
    usage = (
        "```python\nfrom transformers import pipeline\n\n"
        'classify = pipeline("text-classification", model="path/to/this/folder", truncation=True)\n```\n\n'
        f"or\n\n{predict}{_readout_line(record['confidence'])}"
    )
    if record["training"] is None:
        library = "muka-fast"
        usage = (
            "There is no student: the teachers answer, each text by those that own it.\n"
            f"They, and the encoder that student.model names, must stay in place.\n\n{predict}"
        )
    parts = [
        f"---\nlibrary_name: {library}\npipeline_tag: text-classification\ntags: [muka-fast]\n---",
        f"# A classifier over {len(space)} classes, merged from {len(space.teachers)} teachers",
        "Made by muka-fast from fine-tuned classifiers and "
        f"{record['texts']['used']} unlabelled texts; no label was used.",
        usage,
        "## Teachers",
        markdown_table(["teacher", "model", "labels", "most trusted for", "texts cut"], teachers),
    ]
    if "test" in record:
        test = record["test"]
        parts += [
            f"## Measured on {test['student']['count']} labelled texts",
            markdown_table(["", "accuracy", ""], result_rows(test)),
            f"Confidence: {confidence_line(test)}.",
        ]
        if test["foreign"]:
            parts.append(f"{sum(test['foreign'].values())} texts with labels outside the label space are left out.")
    parts += [
        "## Classes",
        markdown_table(["class", "known to"], list(zip(space.names, space.known_to(), strict=True))),
        "## Recipe",
        f"```yaml\n{recipe.dump()}```",
    ]
    return "\n\n".join(parts) + "\n"
