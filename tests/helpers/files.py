"""Small files of texts, and how they are refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from muka_fast.errors import CorpusError


def write(path: Path, content: str | bytes) -> str:
    """Write a file; return its path as a string."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


def assert_refused(read: Callable[[str], object], path: Path, content: str | bytes, what: str, where: str) -> None:
    """Write a file and check that ``read`` refuses it: what is wrong, in which file and line, and how to fix it."""
    with pytest.raises(CorpusError) as caught:
        read(write(path, content))
    assert what in caught.value.what
    assert caught.value.where == str(path.parent / where)
    assert caught.value.hint
