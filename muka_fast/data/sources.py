"""Which files a source of texts means: a file, or the data files of a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from muka_fast.data.text_files import COMPRESSIONS, without_compression
from muka_fast.errors import CorpusError

_NO_DATA = {"readme", "license", "licence", "notice", "changelog", "citation"}
"""Names that hold no data, whatever their suffix."""
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class SourceFile:
    """A file of texts.

    Attributes:
        path: The file.
        suffix: Its format: the suffix, without that of a compression.
        partition: Columns that the names of its folders hold, as in ``label=music/part-0.parquet``.
    """

    path: Path
    suffix: str
    partition: dict[str, str | None] = field(default_factory=dict)


def _suffix(path: Path) -> str:
    return without_compression(path.name).suffix.lower()


def _is_stray(path: Path, formats: Sequence[str]) -> bool:
    return not path.is_file() or _suffix(path) not in formats or path.name.split(".")[0].casefold() in _NO_DATA


def _partition(folder: Path) -> dict[str, str | None]:
    name, separator, value = folder.name.partition("=")
    return {name: None if value == _HIVE_NULL else unquote(value)} if name and separator else {}


def _in_folder(
    folder: Path, formats: Sequence[str], partition: dict[str, str | None]
) -> tuple[list[SourceFile], list[str]]:
    """Return the data files of a folder and of its partitions, and what else is there.

    Names that begin with a dot or an underscore, as .DS_Store and _SUCCESS, are no data, as in pyarrow and Spark.
    """
    files: list[SourceFile] = []
    strays: list[str] = []
    for path in sorted(folder.iterdir()):
        here = _partition(path)
        if path.name.startswith((".", "_")):
            continue
        if path.is_dir() and (here or _suffix(path) in formats):
            below, more = _in_folder(path, formats, partition | here)
            files += below
            strays += more
        elif _is_stray(path, formats):
            strays.append(path.name)
        elif path.stat().st_size:  # engines that write many parts leave empty ones
            files.append(SourceFile(path, _suffix(path), partition))
    return files, strays


def find_files(source: str, formats: Sequence[str]) -> tuple[list[SourceFile], str]:
    """Return the files of a source, in the order of their names, and a message about what a folder holds besides.

    Args:
        source: A file or a folder.
        formats: Known suffixes.

    Raises:
        CorpusError: If the path does not exist, is of an unknown type, or is a folder without a known file.
    """
    path = Path(source)
    known = f"{', '.join(formats)}, also compressed: {', '.join(COMPRESSIONS)}"
    if path.is_dir():
        files, strays = _in_folder(path, formats, {})
        few = ", ".join(strays[:5]) + (f" and {len(strays) - 5} more" if len(strays) > 5 else "")
        if not files:
            found = f", only {few}" if strays else ""
            raise CorpusError(f"the folder has no readable file{found}", where=source, hint=f"put in {known}")
        return files, f"not read: {few}" if strays else ""
    if not path.exists():
        raise CorpusError("no such file", where=source, hint="check the path, or write hub:owner/name")
    if _suffix(path) not in formats:
        raise CorpusError(f"unknown file type {path.suffix!r}", where=source, hint=f"use one of {known}")
    return [SourceFile(path, _suffix(path))], ""
