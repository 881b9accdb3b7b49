"""A folder with everything that ``muka-fast amalgamate`` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.models import make_model, texts


def write_project(folder: Path) -> Path:
    """Write two teachers, a student to start from, texts, labelled texts and a recipe; return the folder."""
    make_model(folder / "one", ("music", "weather"), seed=1)
    make_model(folder / "two", ("Travel", "bank", "lights"), family="distilbert", seed=2)
    make_model(folder / "base", ("x", "y"), seed=3)
    lines = [json.dumps({"text": text}) for text in texts(60)]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = ("music", "weather", "travel", "bank", "lights")
    rows = [f"{text},{names[i % 5]}" for i, text in enumerate(texts(25, 100))]
    (folder / "test.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (folder / "recipe.yaml").write_text(
        "teachers: [one, two]\n"
        "data: texts.jsonl\n"
        "student: base\n"
        "output: out\n"
        "uncertainty: {passes: 3, shard_size: 16, token_budget: 128}\n"
        "training: {epochs: 2, batch_size: 8, evaluations: 4, learning_rate: 1e-3}\n"
        "device: cpu\n",
        encoding="utf-8",
    )
    return folder


def change_recipe(project: Path, **sections: Any) -> None:
    """Replace top-level keys of a project's recipe."""
    path = project / "recipe.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | sections), encoding="utf-8")


def parquet(folder: Path) -> dict[str, bytes]:
    """Return the content of the Parquet files below a folder, by relative path."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.parquet"))}
