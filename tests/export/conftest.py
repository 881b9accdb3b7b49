"""Classifiers of this folder's tests."""

import pytest

from tests.helpers.models import make_classifier


@pytest.fixture
def bert(tmp_path):
    return make_classifier(tmp_path / "bert")
