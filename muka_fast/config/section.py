"""The base of the recipe's sections, and values that a recipe may write shorter."""

from __future__ import annotations

import os
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, WithJsonSchema
from pydantic_core import CoreSchema


class Section(BaseModel):
    """A section of a recipe: unknown keys are refused, and nothing is changed later."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    SHORTHANDS: ClassVar[tuple[str, ...]] = ()
    """JSON types of the values that a recipe may hold in place of the section."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        if cls.SHORTHANDS:
            section = handler.resolve_ref_schema(schema)
            keys = dict(section)
            section.clear()
            section["anyOf"] = [keys, *(JSON_TYPES[name] for name in cls.SHORTHANDS)]
        return schema


JSON_TYPES: dict[str, dict[str, Any]] = {
    "string": {"type": "string"},
    "array": {"type": "array", "items": {"type": "string"}},
}


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str | os.PathLike) else value


StringList = Annotated[
    list[str], BeforeValidator(_as_list), WithJsonSchema({"anyOf": [JSON_TYPES["array"], JSON_TYPES["string"]]})
]
"""Strings; a bare string means a list of it."""
