"""A benchmark's results as files."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from muka_fast.bench.results import markdown
from muka_fast.errors import OutputError
from muka_fast.runtime.files import atomic_write


def prepare_output(folder: Path | None, *, plots: bool = False) -> Callable[[dict[str, Any]], None]:
    """Return what writes results into a folder: ``bench.json``, ``tables.md`` and, if asked for, plots.

    Raises:
        OutputError: If the folder cannot be made.
        MachineError: If plots are asked for and matplotlib is not installed.
    """
    if folder is None:
        return lambda _: None
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise OutputError("the output is a file", where=str(folder), hint="give a folder") from None
    draw = None
    if plots:
        from muka_fast.bench.plots import require_matplotlib

        draw = require_matplotlib()

    def write(results: dict[str, Any]) -> None:
        atomic_write(folder / "bench.json", (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
        atomic_write(folder / "tables.md", markdown(results).encode())
        if draw is not None:
            draw(results, folder)

    return write
