"""Fixtures of the whole suite; the package that they import sets the environment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import transformers

from tests.helpers.commands import invoke
from tests.helpers.models import make_model
from tests.helpers.projects import write_project


@pytest.fixture
def model_folder(tmp_path: Path) -> Callable[..., Path]:
    """Make tiny classifiers below the test's folder: ``model_folder(name, labels, …)``."""
    return lambda name, labels=("a", "b"), **options: make_model(tmp_path / name, labels, **options)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with two teachers, a student to start from, texts, labelled texts and a recipe."""
    return write_project(tmp_path)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output folder of a finished run; tests must not change it."""
    project = write_project(tmp_path_factory.mktemp("finished"))
    arguments = ["amalgamate", project / "recipe.yaml", "--test", project / "test.csv", "-o", project / "out"]
    result = invoke(*arguments, "--set", "training.max_steps=2", "--set", "uncertainty.passes=0")
    assert result.exit_code == 0, result.stderr
    return project / "out"


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Keep library chatter out of the test output."""
    transformers.logging.set_verbosity_error()
