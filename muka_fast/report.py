"""What a run says of itself to people: the model card."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from muka_fast.labels import LabelSpace
from muka_fast.recipe import Recipe


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a GitHub-style table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


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
    rows.append(("student", percent(student["accuracy"]), f"macro-F1: {percent(student['macro_f1'])}"))
    return rows


def model_card(recipe: Recipe, space: LabelSpace, record: dict[str, Any]) -> str:
    """Return the student's README.md: what it was made from, how, its figures, and the recipe."""
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
    parts = [
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags: [muka-fast]\n---",
        f"# A classifier over {len(space)} classes, merged from {len(space.teachers)} teachers",
        "Made by muka-fast from fine-tuned classifiers and "
        f"{record['texts']['used']} unlabelled texts; no label was used.",
        "```python\nfrom transformers import pipeline\n\n"
        'classify = pipeline("text-classification", model="path/to/this/folder")\n```',
        "## Teachers",
        markdown_table(["teacher", "model", "labels", "most trusted for", "texts cut"], teachers),
    ]
    if "test" in record:
        test = record["test"]
        parts += [
            f"## Measured on {test['student']['count']} labelled texts",
            markdown_table(["", "accuracy", ""], result_rows(test)),
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
