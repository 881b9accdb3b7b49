"""Fixtures of the whole suite; the package that they import sets the environment."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import transformers

from tests.helpers.commands import invoke
from tests.helpers.models import make_model
from tests.helpers.projects import write_project

if TYPE_CHECKING:
    from muka_fast import AmalgamatedClassifier

SHARED = {
    "bert": "export-bert",
    "exported": "exported",
    "finished": "finished",
    "fitted": "fitted",
    "setting": "accuracy",
}
"""What takes long to make and serves several tests, and the group of these: a worker runs all of a group."""


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that share an expensive fixture in one worker."""
    for item in items:
        for fixture in SHARED.keys() & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group(SHARED[fixture]))


@pytest.fixture(scope="module", autouse=True)
def frozen_heap() -> None:
    """Exempt what earlier modules loaded from garbage collection: the package collects after every teacher."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def teacher_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep exported teachers for the whole run: one folder for all workers, which rename finished entries into it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "teacher-cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MUKA_FAST_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def traced_once(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let exports of equal models share one trace, in all workers and later runs; everything after it runs as ever."""
    from tests.helpers.exports import graph_key, trace_once, write_once

    folder = request.config.cache.mkdir(f"graphs-{graph_key()}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("muka_fast.export.exporter.trace", trace_once(folder))
        patch.setattr("muka_fast.scoring.onnx_teacher._write", write_once(folder))
        yield


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported classifier of two labels, for tests that only read it."""
    from muka_fast.export import export

    base = tmp_path_factory.mktemp("export")
    export(str(make_model(base / "model", ("music", "weather"), seed=1)), base / "out")
    return base / "out"


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


@pytest.fixture(scope="session")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> AmalgamatedClassifier:
    """A fitted estimator; tests must not change it."""
    from tests.helpers.estimators import fit_estimator

    return fit_estimator(tmp_path_factory.mktemp("fitted"))


@pytest.fixture(autouse=True)
def quiet() -> None:
    """Keep library chatter out of the test output."""
    transformers.logging.set_verbosity_error()
