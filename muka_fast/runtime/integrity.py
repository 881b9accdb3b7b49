"""Sizes and hashes of files: recorded when they are written, compared when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FileRecord:
    """What a file held when it was written."""

    bytes: int
    """Size."""
    sha256: str
    """SHA-256 of the content, hexadecimal."""


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def record_files(folder: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """Return sizes and hashes of files of a folder, by name."""
    return {name: FileRecord((folder / name).stat().st_size, sha256(folder / name)) for name in sorted(names)}


def find_damage(folder: Path, files: Mapping[str, FileRecord]) -> str:
    """Return which file of a folder is not as recorded, in words; empty if all are. Sizes are compared first.

    Hashing takes about a second per GB on a CPU with SHA instructions, and two or three on others.
    """
    for name, recorded in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != recorded.bytes:
            return f"{name} is damaged: {path.stat().st_size} bytes in place of {recorded.bytes}"
    for name, recorded in files.items():
        if sha256(folder / name) != recorded.sha256:
            return f"{name} is damaged: its SHA-256 differs from the recorded one"
    return ""


def parse_file_records(tree: Any) -> dict[str, FileRecord]:
    """Read file names, sizes and hashes from a record's tree.

    Raises:
        ValueError: If something else stands there, or a name leads out of the folder.
    """
    found = tree.get("files") if isinstance(tree, dict) else None
    if not isinstance(found, dict):
        raise ValueError("it has no 'files'")
    records = {}
    for name, one in found.items():
        size, digest = (one.get("bytes"), one.get("sha256")) if isinstance(one, dict) else (None, None)
        if type(size) is not int or not isinstance(digest, str) or name != Path(name).name:
            raise ValueError(f"files.{name} is not a size and a hash")
        records[name] = FileRecord(size, digest)
    return records
