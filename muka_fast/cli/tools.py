"""Commands that need neither recipe nor model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muka_fast.cli.app import command, print_json
from muka_fast.cli.flags import JsonOption, OverwriteOption


@command
def demo(
    output: Annotated[Path, typer.Argument(help="Folder to work in.")] = Path("muka-demo"),
    seed: Annotated[int, typer.Option("--seed")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Make texts and three teachers, amalgamate them, and show the result: offline, in minutes on a laptop."""
    from muka_fast.cli.demo import run

    run(output, seed=seed, overwrite=overwrite)


@command
def env(as_json: JsonOption = False) -> None:
    """Show versions and devices."""
    from muka_fast.runtime.environment import describe

    found = describe()
    if as_json:
        print_json("env", **found)
    else:
        for key, value in found.items():
            print(f"{key:<17}{value}")
