"""The command that chooses texts to label."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muka_fast.cli.app import command, print_json, print_line
from muka_fast.cli.flags import JsonOption
from muka_fast.cli.models import device_name
from muka_fast.cli.streams import announce_torch


@command
def ask(
    folder: Annotated[Path, typer.Argument(metavar="OUTPUT", help="An output folder of amalgamate.")],
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=2000, help="Texts to ask for.")] = 50,
    output: Annotated[Path, typer.Option("--output", "-o", help="File to write: .csv or .jsonl.")] = Path("few.csv"),
    device: Annotated[
        str | None, typer.Option("--device", help="auto, cpu, cuda or mps; default: the recipe's.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Write the texts whose label would help most; fill in the labels, and give the file to --labelled."""
    announce_torch()
    from muka_fast.pipeline.ask import ask as run

    asked = run(folder, output, count=count, device=None if device is None else device_name(device))
    if as_json:
        print_json("ask", output=str(asked.path), texts=asked.texts, labels=list(asked.labels))
        return
    print_line(f"labels: {', '.join(asked.labels)}")
    print(asked.path)
