"""Commands of muka-fast, called in the test's process."""

from __future__ import annotations

from typing import Any

from typer.testing import CliRunner

from muka_fast.cli import app


def invoke(*arguments: object) -> Any:
    """Call the command line; return click's result."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])
