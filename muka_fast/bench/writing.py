"""A benchmark's results as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from muka_fast.bench.results import markdown
from muka_fast.errors import OutputError
from muka_fast.scores import write_atomically


def write(results: dict[str, Any], folder: Path, *, plots: bool = False) -> None:
    """Write ``bench.json``, ``tables.md`` and, if asked for, plots.

    Raises:
        OutputError: If the folder is a file.
        MachineError: If plots are asked for and matplotlib is not installed.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError("the output is a file", where=str(folder), hint="give a folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "bench.json", (json.dumps(results, indent=2, ensure_ascii=False) + "\n").encode())
    write_atomically(folder / "tables.md", markdown(results).encode())
    if plots:
        from muka_fast.bench.plots import plot

        plot(results, folder)
