"""Groups of command-line options: one dataclass declares them once for every command that takes them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_type_hints


def with_option_groups(*, omit: Collection[str] = ()) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command one option per field of each parameter that is annotated with a dataclass.

    Typer reads a command's signature. A parameter ``options: Group`` of the decorated function is replaced in that
    signature by the fields of ``Group``, in their order, with their annotations and defaults. When the command runs,
    the fields are collected into a ``Group`` again.

    Args:
        omit: Fields that are no options of this command; the group gets their defaults.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(function, include_extras=True)
        parameters: list[inspect.Parameter] = []
        groups: dict[str, tuple[type, list[str]]] = {}
        for parameter in inspect.signature(function).parameters.values():
            annotation = hints[parameter.name]
            if not (isinstance(annotation, type) and is_dataclass(annotation)):
                parameters.append(_keyword(parameter.name, parameter.default, annotation))
                continue
            group_hints = get_type_hints(annotation, include_extras=True)
            shown = [field for field in fields(annotation) if field.name not in omit]
            groups[parameter.name] = annotation, [field.name for field in shown]
            for field in shown:
                default = inspect.Parameter.empty if field.default is MISSING else field.default
                parameters.append(_keyword(field.name, default, group_hints[field.name]))

        @functools.wraps(function)
        def command(**given: Any) -> None:
            for name, (group, names) in groups.items():
                given[name] = group(**{key: given.pop(key) for key in names})
            function(**given)

        # functools.wraps copies the function's own annotations and leads inspect to its own signature.
        command.__dict__["__signature__"] = inspect.Signature(parameters)
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate


def _keyword(name: str, default: Any, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
