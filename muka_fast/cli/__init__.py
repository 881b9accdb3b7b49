"""The command line: parse, call one function, print. Results go to stdout, everything else to stderr."""

from __future__ import annotations

# Each registers its commands; --help shows them in this order.
# isort: off
from muka_fast.cli import recipes, models, bench, tools  # noqa: F401

# isort: on
from muka_fast.cli.app import app

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    app()
