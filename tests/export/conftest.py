"""Exported classifiers of this folder's tests."""

import pytest

from muka_fast.export import export
from tests.helpers.exports import trace_once
from tests.helpers.models import make_classifier, make_model


@pytest.fixture
def bert(tmp_path, traced_once):
    return make_classifier(tmp_path / "bert")


@pytest.fixture(scope="session")
def exported(tmp_path_factory, graph_folder):
    """An exported classifier of two labels, for tests that only read it."""
    base = tmp_path_factory.mktemp("export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("muka_fast.export.exporter.trace", trace_once(graph_folder))
        export(str(make_model(base / "model", ("music", "weather"), seed=1)), base / "out")
    return base / "out"
