"""A line in the output of a notebook's cell that is written over, as a terminal's progress bar is."""

from __future__ import annotations

import sys
from typing import Any


def in_notebook() -> bool:
    """Return whether an IPython kernel runs this process: its front end can replace what it shows."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


class NotebookLine:
    """A line of plain text below the cell that runs; make it only where :func:`in_notebook` is true.

    Args:
        text: The line.
    """

    def __init__(self, text: str) -> None:
        from IPython.display import display

        self._handle: Any = display({"text/plain": text}, raw=True, display_id=True)

    def update(self, text: str) -> None:
        """Replace the line."""
        self._handle.update({"text/plain": text}, raw=True)
