"""Dataclasses rebuilt from parsed JSON, every value checked against its annotation."""

from __future__ import annotations

import math
import types
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from muka_fast.runtime.parsing import UnreadableError

Kind = TypeVar("Kind")


def from_tree(kind: type[Kind], tree: Any) -> Kind:
    """Build a dataclass from parsed JSON.

    Args:
        kind: A dataclass of numbers, strings, booleans, optional values, ``dict[str, …]``, ``tuple[…, ...]`` and other
            dataclasses.
        tree: What the JSON parser returned.

    Raises:
        UnreadableError: If a key is missing or unknown, a value has another type, or a number is not finite; the
            message names the key.
    """
    return _build(kind, tree, "")


def _build(kind: Any, value: Any, name: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _build(next(one for one in arguments if one is not type(None)), value, name)
    if is_dataclass(kind):
        return _build_dataclass(kind, value, name)
    if origin is dict:
        return {key: _build(arguments[1], one, f"{name}.{key}") for key, one in _require(value, dict, name).items()}
    if origin is tuple:
        return tuple(_build(arguments[0], one, f"{name}.{i}") for i, one in enumerate(_require(value, list, name)))
    if kind is float:
        try:
            number = float(_require(value, float | int, name))
        except OverflowError:  # a whole number beyond the largest float
            number = math.inf
        if not math.isfinite(number):
            raise UnreadableError(f"{name} is not finite")
        return number
    return _require(value, kind, name)


def _build_dataclass(kind: Any, value: Any, name: str) -> Any:
    inside, known = f"{name}." if name else "", {field.name: field for field in fields(kind)}
    given = _require(value, dict, name or "the content")
    for key in given:
        if key not in known:
            raise UnreadableError(f"{inside}{key} is an unknown key")
    for key, field in known.items():
        if key not in given and field.default is MISSING and field.default_factory is MISSING:
            raise UnreadableError(f"{inside}{key} is missing")
    hints = get_type_hints(kind)
    return kind(**{key: _build(hints[key], one, f"{inside}{key}") for key, one in given.items()})


_NAMES = {int: "a whole number", str: "a string", bool: "true or false", dict: "an object", list: "a list"}


def _require(value: Any, kind: Any, name: str) -> Any:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise UnreadableError(f"{name} is not {_NAMES.get(kind, 'a number')}")
    return value
