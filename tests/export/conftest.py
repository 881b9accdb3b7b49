"""Classifiers of this folder's tests."""

import pytest

from tests.helpers.models import make_classifier


@pytest.fixture
def bert(tmp_path, traced_once):
    return make_classifier(tmp_path / "bert")
