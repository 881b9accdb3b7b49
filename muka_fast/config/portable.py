"""Names of inputs without the paths of the machine, for what others read: a path is shown by its last part."""

from __future__ import annotations

import re
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import yaml

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")
"""``name`` or ``owner/name``."""
_PATH_KEYS = ("model", "base", "config", "tokenizer", "files", "file", "dataset", "texts", "output", "scores")
"""Keys of a recipe that hold paths."""


class PortableRecipe(NamedTuple):
    """A recipe without paths of the machine.

    Attributes:
        text: The recipe, YAML.
        paths: The paths that were shortened, the longest first.
    """

    text: str
    paths: list[str]


def is_absolute(value: str) -> bool:
    """Return whether a value is an absolute path of any system."""
    return PurePosixPath(value).is_absolute() or PureWindowsPath(value).is_absolute()


def last_part(value: str) -> str:
    """Return the last part of an absolute path; other values as they are."""
    if not is_absolute(value):
        return value
    kind = PureWindowsPath if PureWindowsPath(value).drive else PurePosixPath
    return kind(value).name or "…"


def portable_recipe(tree: Any) -> PortableRecipe:
    """Return a recipe with the last part of each absolute path.

    Args:
        tree: The recipe as plain data.
    """
    found: set[str] = set()

    def clean(value: Any, is_place: bool) -> Any:
        if isinstance(value, dict):
            return {key: clean(one, key in _PATH_KEYS) for key, one in value.items()}
        if isinstance(value, list):
            return [clean(one, is_place) for one in value]
        if is_place and isinstance(value, str) and is_absolute(value):
            found.add(value)
            return last_part(value)
        return value

    text = yaml.safe_dump(clean(tree, False), sort_keys=False, allow_unicode=True, width=120)
    return PortableRecipe(text, sorted(found, key=len, reverse=True))
