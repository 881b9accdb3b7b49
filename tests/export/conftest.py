"""Exported classifiers of this folder's tests."""

import pytest

from muka_fast.export import export
from tests.helpers.models import make_classifier, make_model


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Run the tests of one traced model in one worker."""
    for item in items:
        for fixture, group in (("bert", "export-bert"), ("folder", "export-two-labels")):
            if fixture in item.fixturenames:
                item.add_marker(pytest.mark.xdist_group(group))


@pytest.fixture
def bert(tmp_path, traced_once):
    return make_classifier(tmp_path / "bert")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """An exported classifier of two labels, for tests that only read it."""
    base = tmp_path_factory.mktemp("export")
    export(str(make_model(base / "model", ("music", "weather"), seed=1)), base / "out")
    return base / "out"
