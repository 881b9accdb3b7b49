"""Dataclasses of arrays written to one ``.npz`` file and read back, without pickled objects."""

from __future__ import annotations

import io
import types
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from muka_fast.errors import first_line
from muka_fast.runtime.files import atomic_write
from muka_fast.runtime.parsing import UnreadableError

Kind = TypeVar("Kind")


def flatten(value: Any, name: str = "") -> dict[str, np.ndarray]:
    """Return the arrays of a tree of dataclasses, tuples, dicts, arrays, numbers and strings; None leaves nothing."""
    if value is None:
        return {}
    if is_dataclass(value):
        items = [(field.name, getattr(value, field.name)) for field in fields(value)]
    elif isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, tuple | list):
        items = [(str(index), one) for index, one in enumerate(value)]
    else:
        return {name: np.asarray(value)}
    found: dict[str, np.ndarray] = {}
    for key, one in items:
        found |= flatten(one, f"{name}/{key}" if name else str(key))
    return found


def restore(kind: Any, arrays: dict[str, np.ndarray], name: str = "") -> Any:
    """Rebuild a value of a type from what :func:`flatten` returned.

    Raises:
        KeyError: If something is missing.
        TypeError: If a type cannot be restored.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    inside = f"{name}/" if name else ""
    if origin in (Union, types.UnionType):
        wanted = next(one for one in arguments if one is not type(None))
        return restore(wanted, arrays, name) if _has(arrays, name) else None
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        return kind(**{field.name: restore(hints[field.name], arrays, inside + field.name) for field in fields(kind)})  # type: ignore[operator]
    if origin is tuple:
        count = len({key[len(inside) :].split("/")[0] for key in arrays if key.startswith(inside)})
        return tuple(restore(arguments[0], arrays, f"{inside}{index}") for index in range(count))
    if origin is dict:
        keys = dict.fromkeys(key[len(inside) :].split("/")[0] for key in arrays if key.startswith(inside))
        return {key: restore(arguments[1], arrays, inside + key) for key in keys}
    if kind in (float, int, bool, str):
        return kind(arrays[name].item())
    if kind is np.ndarray:
        return arrays[name]
    raise TypeError(f"cannot restore {kind}")


def _has(arrays: dict[str, np.ndarray], name: str) -> bool:
    return name in arrays or any(key.startswith(f"{name}/") for key in arrays)


def save_arrays(path: Path, value: Any) -> None:
    """Write a tree of dataclasses, whole or not at all."""
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **flatten(value))
    atomic_write(path, content.getvalue())


def load_arrays(path: Path, kind: type[Kind]) -> Kind:
    """Read what :func:`save_arrays` wrote; pickled objects are never loaded.

    Raises:
        FileNotFoundError: If there is no such file.
        UnreadableError: If the file is damaged, holds something else, or a number that is not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as found:
            arrays = dict(found)
        for name, values in arrays.items():
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise UnreadableError(f"{name} is not finite")
        return restore(kind, arrays)
    except (FileNotFoundError, UnreadableError):
        raise
    except Exception as error:  # noqa: BLE001 - numpy, zipfile and zlib raise many types on damaged files
        raise UnreadableError(f"not the arrays that were written: {first_line(error)}") from None
