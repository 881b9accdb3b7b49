"""File writes that survive a kill or a power cut: whole or absent, and removed if a dead run left them."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
from pathlib import Path

TEMPORARY = ".*.tmp"
"""Pattern of names under which files and folders are written before they are renamed."""
_LEFTOVER = re.compile(r"\..+\.\d+\.tmp")


def temporary_sibling(path: Path) -> Path:
    """Return a name beside a path that matches :data:`TEMPORARY`; each call returns another one."""
    # Processes of two machines may have one number, and one file system.
    return path.with_name(f".{path.name}.{os.getpid()}{secrets.randbelow(10**9):09d}.tmp")


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut; does nothing where folders cannot be opened (Windows)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """Make every file below a folder, and its names, survive a power cut."""
    for directory, _, names in os.walk(folder, topdown=False):
        for name in names:
            with open(os.path.join(directory, name), "rb") as handle:
                os.fsync(handle.fileno())
        sync_folder(Path(directory))


def atomic_write(path: Path, content: bytes) -> None:
    """Write a file atomically: readers, and runs after a crash, see the former content or all of the new one."""
    temporary = temporary_sibling(path)
    try:
        with temporary.open("wb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, a folder with its content, or a symbolic link; the target of a link stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Remove what dead runs left under temporary names in a folder; call it only while the folder is locked."""
    for path in list(folder.iterdir()):
        if _LEFTOVER.fullmatch(path.name):
            with contextlib.suppress(FileNotFoundError):
                remove(path)


def is_writable(folder: Path) -> bool:
    """Return whether a folder, or the nearest existing one above it, can be written: permission, no read-only disk."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    return os.access(existing, os.W_OK | os.X_OK)
