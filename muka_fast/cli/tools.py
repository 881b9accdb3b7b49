"""Commands that need neither recipe nor model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muka_fast.cli.app import command, print_json
from muka_fast.cli.flags import JsonOption, OverwriteOption
from muka_fast.cli.streams import announce_torch


@command
def demo(
    output: Annotated[Path, typer.Argument(help="Folder to work in.")] = Path("muka-demo"),
    seed: Annotated[int, typer.Option("--seed")] = 0,
    overwrite: OverwriteOption = False,
) -> None:
    """Generate texts, train three teachers, merge them, and print the result: offline, in minutes on a laptop."""
    announce_torch()
    from muka_fast.cli.demo import run

    run(output, seed=seed, overwrite=overwrite)


@command
def env(as_json: JsonOption = False) -> None:
    """Show what a bug report needs: versions, devices, memory, settings."""
    found = describe()
    if as_json:
        print_json("env", **found)
    else:
        for key, value in found.items():
            print(f"{key:<17}{value}")


def describe() -> dict[str, str]:
    """Return what a bug report needs: versions of the dependencies, devices, memory, settings of the environment."""
    import os
    import platform
    import shutil
    import sys

    import torch

    from muka_fast.export.sessions import describe_providers
    from muka_fast.runtime.environment import OPTIONAL, PACKAGES, VARIABLES, memory, versions

    found = {"platform": platform.platform(), **versions((*PACKAGES, *OPTIONAL))}
    found["executable"] = sys.executable
    found["encodings"] = f"stdout {sys.stdout.encoding}, files {sys.getfilesystemencoding()}"
    found["cpu"] = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    found["memory"] = memory()
    found["disk"] = f"{shutil.disk_usage(Path.cwd()).free / 2**30:.1f} GiB free in the present folder"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    found["cuda"] = ", ".join(gpus) if torch.cuda.is_available() else "none"
    found["CUDA of PyTorch"] = torch.version.cuda or "none"
    found["ONNX Runtime"] = describe_providers()
    found["variables"] = ", ".join(f"{name}={os.environ[name]}" for name in VARIABLES if name in os.environ) or "none"
    return found
