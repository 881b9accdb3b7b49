"""Fixtures of the whole suite; the package that they import sets the environment."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from tests.helpers.models import make_model, texts


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make tiny classifiers below the test's folder: ``model_folder(name, labels, …)``."""
    return lambda name, labels=("a", "b"), **options: make_model(tmp_path / name, labels, **options)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two teachers, a student to start from, texts, labelled texts and a recipe."""
    make_model(tmp_path / "one", ("music", "weather"), seed=1)
    make_model(tmp_path / "two", ("Travel", "bank", "lights"), family="distilbert", seed=2)
    make_model(tmp_path / "base", ("x", "y"), seed=3)
    lines = [json.dumps({"text": text}) for text in texts(60)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    names = ("music", "weather", "travel", "bank", "lights")
    rows = [f"{text},{names[i % 5]}" for i, text in enumerate(texts(25, 100))]
    (tmp_path / "test.csv").write_text("text,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    (tmp_path / "recipe.yaml").write_text(
        "teachers: [one, two]\n"
        "data: texts.jsonl\n"
        "student: base\n"
        "output: out\n"
        "uncertainty: {passes: 3, shard_size: 16, token_budget: 128}\n"
        "training: {epochs: 2, batch_size: 8, evaluations: 4, learning_rate: 1e-3}\n"
        "device: cpu\n",
        encoding="utf-8",
    )
    return tmp_path


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Keep library chatter out of the test output."""
    transformers.logging.set_verbosity_error()
