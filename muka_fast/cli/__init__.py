"""The command line: parse, call one function, print. Results go to stdout, everything else to stderr.

* ``app``: the Typer application: errors to lines and exit codes
* ``ask``: the command that chooses texts to label
* ``bench``: the command ``bench``
* ``demo``: the demonstration: synthetic texts, three teachers, one student
* ``flags``: the options that make or change a recipe
* ``models``: the commands that take a trained classifier
* ``options``: groups of options as dataclasses
* ``predict``: the command ``predict``
* ``push``: the command that uploads a student to a model hub
* ``recipes``: the commands that take a recipe
* ``serve``: the command that serves an export over HTTP
* ``streams``: stdout and stderr, whatever they can write
* ``tools``: the commands ``demo`` and ``env``
* ``watch``: the command that compares new texts with the pool of a run
"""

from __future__ import annotations

# Each registers its commands; --help shows them in this order.
# isort: off
from muka_fast.cli import recipes, models, predict, serve, push, watch, ask, bench, tools  # noqa: F401

# isort: on
from muka_fast.cli.app import app
from muka_fast.cli.streams import prepare_streams

__all__ = ["app", "main"]


def main() -> None:
    """Run the command line."""
    prepare_streams()
    app()
