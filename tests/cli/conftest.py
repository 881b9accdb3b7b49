"""The command line, called in a project's folder."""

import pytest

from tests.helpers.commands import invoke


@pytest.fixture
def run(project, monkeypatch, traced_once):
    """Call the command line in the project's folder; returns click's result."""
    monkeypatch.chdir(project)
    return invoke
