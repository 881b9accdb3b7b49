"""The command that uploads a student to a model hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from muka_fast.cli.app import command, print_json
from muka_fast.cli.flags import JsonOption
from muka_fast.cli.streams import announce_torch
from muka_fast.runtime.printable import printable


@command
def push(
    folder: Annotated[Path, typer.Argument(metavar="OUTPUT", help="An output folder of amalgamate.")],
    repository: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="Model repository of the hub.")],
    export: Annotated[
        Path | None, typer.Option("--export", help="What `export` wrote of this student; goes to onnx/.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option("--revision", help="Branch to commit to.  [default: main]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be uploaded, and send nothing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Upload a student, its model card and its recipe; scores, texts and paths of this machine stay behind."""
    announce_torch()
    from muka_fast.pipeline.hub_files import files_left_behind
    from muka_fast.pipeline.push import push_to_hub

    files = push_to_hub(folder, repository, export=export, private=private, revision=revision, dry_run=dry_run)
    behind = files_left_behind(folder, files)
    if as_json:
        listed = [{"name": file.name, "bytes": file.bytes} for file in files]
        print_json("push", repository=repository, uploaded=not dry_run, files=listed, left_behind=behind)
        return
    for file in files:
        print(f"{file.bytes:>13,}  {printable(file.name)}")
    total = sum(file.bytes for file in files) / 1e6
    print(f"{'would upload' if dry_run else 'uploaded'} {len(files)} files, {total:.1f} MB, to {printable(repository)}")
    print(f"left behind: {', '.join(map(printable, behind)) or 'nothing'}")
