"""JSON and YAML read from files that may be damaged, hostile, or something else: one exception for all of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

LARGEST = 512 * 2**20
"""Bytes of a text file that is read as a whole, at most."""


class UnreadableError(Exception):
    """A file, or a text, that cannot be parsed; the message holds the reason.

    Attributes:
        line: Line of the problem, from 1; None if unknown.
    """

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.line = line


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def parse_json(text: str | bytes) -> Any:
    """Parse JSON; NaN and infinities, which Python's parser takes, are refused.

    Raises:
        UnreadableError: If the text is not JSON in UTF-8, is nested too deeply, or holds a number of too many digits.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not valid JSON: {error.msg}", error.lineno) from None
    except RecursionError:
        raise UnreadableError("not valid JSON: nested too deeply") from None
    except ValueError as error:  # of Unicode, of numbers, of constants
        raise UnreadableError(f"not valid JSON: {error}") from None


def parse_yaml(text: str) -> Any:
    """Parse YAML; tags other than the standard ones are refused, so nothing is constructed but plain data.

    Raises:
        UnreadableError: If the text is not YAML, or a value does not fit its tag.
    """
    import yaml  # here, as exported classifiers are served where there is none

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or "unreadable character"
        raise UnreadableError(f"not valid YAML: {problem}", mark.line + 1 if mark else None) from None
    except RecursionError:
        raise UnreadableError("not valid YAML: nested too deeply") from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise UnreadableError(f"not valid YAML: a value does not fit its tag or type ({error})") from None


def read_text(path: Path) -> str:
    """Read a UTF-8 file.

    Raises:
        FileNotFoundError: If there is none.
        UnreadableError: If it is no file, is larger than :data:`LARGEST`, or not UTF-8.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise UnreadableError(f"larger than {LARGEST // 2**20} MiB")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not UTF-8: byte {error.start} is {error.object[error.start]:#04x}") from None
    except OSError as error:
        raise UnreadableError(error.strerror or type(error).__name__) from None


def read_json(path: Path) -> Any:
    """Read a JSON file; see :func:`read_text` and :func:`parse_json` for what is raised."""
    return parse_json(read_text(path))


def read_yaml(path: Path) -> Any:
    """Read a YAML file; see :func:`read_text` and :func:`parse_yaml` for what is raised."""
    return parse_yaml(read_text(path))
