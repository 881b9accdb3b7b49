"""The folder of an export: locked, written apart, and moved into place so that a kill loses nothing.

A finished export is renamed to :data:`COMMITTED` inside its folder, which is the moment it counts. From there the files
move one by one, the record last. Whoever finds the folder in between, a reader or the next export, finishes the moves.
"""

from __future__ import annotations

import contextlib
import fnmatch
import shutil
from collections.abc import Iterator
from pathlib import Path

from muka_fast.errors import MachineError, OutputError
from muka_fast.export.export_record import COMMITTED, RECORD, finish_commit, is_exported
from muka_fast.runtime.files import TEMPORARY, is_writable, remove_leftovers, sync_folder, sync_tree, temporary_sibling
from muka_fast.runtime.locks import exclusive, is_lock_file
from muka_fast.runtime.progress import Progress


@contextlib.contextmanager
def staging(output: Path, *, overwrite: bool, wait: bool, progress: Progress) -> Iterator[Path]:
    """Lock the output, make a temporary folder in it, and delete that folder if it has not been committed.

    Args:
        output: Output folder; made if it does not exist, and removed again if nothing is committed.
        overwrite: Whether an earlier export may be replaced.
        wait: Wait for another export to the same folder.
        progress: Receives messages.

    Raises:
        OutputError: If the folder holds anything but an earlier export, or one that may not be replaced, or another
            process writes there and ``wait`` is False.
        MachineError: If the folder cannot be written.
    """
    _require_usable(output)
    is_new = not output.exists()
    try:
        with exclusive(output, wait=wait, log=progress.log):
            _require_usable(output)
            finish_commit(output)
            remove_leftovers(output)
            if is_exported(output) and not overwrite:
                hint = "--overwrite, or another folder"
                raise OutputError("the folder holds an export", where=str(output), hint=hint)
            folder = temporary_sibling(output / "export")
            folder.mkdir()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    finally:
        if is_new:
            with contextlib.suppress(OSError):  # not empty: the export is there
                output.rmdir()


def commit(output: Path, folder: Path) -> None:
    """Replace the export of an output folder by the finished one of a staging folder; other files stay."""
    sync_tree(folder)
    folder.replace(output / COMMITTED)
    sync_folder(output)
    finish_commit(output)


def _require_usable(output: Path) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError("the output is a file", where=str(output), hint="give a folder")
    if not is_writable(output):
        what = "no permission to write the output folder, or its file system is read-only"
        raise MachineError(what, where=str(output), hint="choose another folder")
    if not output.exists() or is_exported(output):
        return
    entries = [entry.name for entry in output.iterdir() if not fnmatch.fnmatch(entry.name, TEMPORARY)]
    if not all(map(is_lock_file, entries)):
        raise OutputError(
            f"the folder is not empty and is not an export: no {RECORD}",
            where=str(output),
            hint="choose another folder",
        )
