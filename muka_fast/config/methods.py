"""The methods that ``selection`` can name: the base of their schemas, their registry, and plug-ins.

A method is one class: fields are the keys of its ``selection`` section, properties are what it needs of the other
stages. The built-in ones stand in ``muka_fast/distillation/methods/``, one file each, named after the method. Other
packages add methods as entry points of the group ``muka_fast.methods``. Both are imported by name when a recipe asks
for them, so this room does not depend on theirs; their modules import torch only inside functions.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self, TypeVar, Union

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    SerializeAsAny,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError

from muka_fast.errors import RecipeError

if TYPE_CHECKING:
    from muka_fast.config.specs import DataSpec, ModelSpec

DEFAULT_METHOD = "pool"
BUILT_IN = "muka_fast.distillation.methods"
ENTRY_POINTS = "muka_fast.methods"


class MethodConfig(BaseModel):
    """A ``selection`` section: the method, its settings, and what it needs of the other stages.

    A subclass narrows ``method`` to its own name, ``method: Literal["name"] = "name"``.

    Attributes:
        needs_embeddings: Whether selection reads embeddings of the texts.
        trains_student: Whether a student is trained; otherwise the teachers answer together.
        reads_labels: Whether selection and training read labelled texts and known shares.
        chooses_teachers: Whether a teacher may have no weight for a text.
        trains_loss: Whether the loss has parameters of its own; they are not shared between processes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    needs_embeddings: ClassVar[bool] = False
    trains_student: ClassVar[bool] = True
    reads_labels: ClassVar[bool] = False
    chooses_teachers: ClassVar[bool] = True
    trains_loss: ClassVar[bool] = False

    method: str

    @property
    def title(self) -> str:
        """Name of what reads the scores, for messages."""
        return f"method {self.method!r}"

    @property
    def text_encoder(self) -> ModelSpec | None:
        """The model whose text vectors selection reads; None: the student's own."""
        return None

    def with_text_encoder(self, spec: ModelSpec) -> Self:
        """Return the section with its text encoder resolved."""
        return self.model_copy(update={"encoder": spec})

    @property
    def least_passes(self) -> int:
        """Dropout passes without which the method cannot work; if 0, none are run by default."""
        return 0

    @property
    def reads_passes(self) -> bool:
        """Whether dropout passes change the result."""
        return self.least_passes > 0

    @property
    def needs_features(self) -> bool:
        """Whether every teacher must have features."""
        return False

    @property
    def compares_logits(self) -> bool:
        """Whether the level of a teacher's logits counts; probabilities have none."""
        return False

    @property
    def stops_early(self) -> bool:
        """Whether adaptive passes apply: their stopping rule follows the predictive entropy."""
        return False

    @property
    def labelled_texts(self) -> DataSpec | None:
        """Labelled texts that selection and training read; None if there are none."""
        return None

    @property
    def known_shares(self) -> Mapping[str, float]:
        """Shares of the pool that are known, by teacher name."""
        return {}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        if cls.model_fields["method"].default != DEFAULT_METHOD:
            own = handler.resolve_ref_schema(schema)
            own["required"] = ["method", *own.get("required", ())]  # without it the section is the default method's
        return schema


Registered = TypeVar("Registered", bound=MethodConfig)
_registered: dict[str, type[MethodConfig]] = {}


def register_method(method: type[Registered]) -> type[Registered]:
    """Make a method known to recipes under its name; usable as a class decorator.

    Raises:
        TypeError: If the class does not set a default for ``method``.
        ValueError: If another class has this name.
    """
    name = method.model_fields["method"].default
    if not isinstance(name, str):
        raise TypeError(f"{method.__name__} needs a field: method: Literal['name'] = 'name'")
    if _registered.setdefault(name, method) is not method:
        raise ValueError(f"two methods are named {name!r}: {_registered[name].__qualname__}, {method.__qualname__}")
    return method


def unregister_method(name: str) -> None:
    """Forget a method that :func:`register_method` added."""
    del _registered[name]


@cache
def _built_in() -> frozenset[str]:
    spec = find_spec(BUILT_IN)
    places = spec.submodule_search_locations if spec is not None else None
    return frozenset(module.name for module in iter_modules(places or ()))


@cache
def _plug_ins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def method_names() -> list[str]:
    """Return the names of all methods, the default first: built-in, installed as plug-ins, or registered here."""
    return sorted({*_built_in(), *_plug_ins(), *_registered}, key=lambda name: (name != DEFAULT_METHOD, name))


def find_method(name: str) -> type[MethodConfig] | None:
    """Return the class of a method, or None if there is none of this name.

    Raises:
        RecipeError: If a plug-in declares it and cannot be loaded.
    """
    if name not in _registered and name in _built_in():
        import_module(f"{BUILT_IN}.{name}")
    elif name not in _registered and name in _plug_ins():
        point = _plug_ins()[name]
        try:
            point.load()
        except (ImportError, AttributeError) as error:
            raise RecipeError(
                f"the plug-in of method {name!r} cannot be loaded: {error}",
                where=point.value,
                hint="install its latest version, or use another method",
            ) from error
    return _registered.get(name)


def _all_methods() -> list[type[MethodConfig]]:
    return [found for found in map(find_method, method_names()) if found is not None]


def method_of_section(section: Mapping[str, Any]) -> str:
    """Return which method a ``selection`` section names; the default one if it names none."""
    return str(section.get("method") or DEFAULT_METHOD)


def parse_method(section: Any) -> MethodConfig:
    """Check a ``selection`` section by the schema of the method that it names.

    Args:
        section: Its keys and values; a bare string is the method; None is the default method.

    Raises:
        ValidationError: If the method or a key is unknown, or a value is wrong.
    """
    if isinstance(section, MethodConfig):
        return section
    if section is None or isinstance(section, str):
        section = {"method": section}
    if not isinstance(section, Mapping):
        raise PydanticCustomError("mapping", "give the method's name, or a section with 'method' and its keys")
    name = method_of_section(section)
    method = find_method(name)
    if method is None:
        near = difflib.get_close_matches(name, method_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known methods: {', '.join(method_names())}"
        problem = PydanticCustomError("unknown_method", "unknown method {name}", {"name": repr(name), "hint": hint})
        detail = InitErrorDetails(type=problem, loc=("method",), input=name)
        raise ValidationError.from_exception_data("selection", [detail])
    return method.model_validate({**section, "method": name})


def unknown_key_hint(name: str, key: str) -> str:
    """Return how to correct a key that the schema of a method does not have.

    Args:
        name: The method's name.
        key: The unknown key.
    """
    method = find_method(name)
    own = list(method.model_fields) if method is not None else ["method"]
    others = [each.model_fields["method"].default for each in _all_methods() if key in each.model_fields]
    if others:
        found = " or ".join(f"method: {other}" for other in others)
        return f"did you mean {found}? It is a key of that method (--method {others[0]})"
    near = difflib.get_close_matches(key, own, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"keys of method {name!r}: {', '.join(own)}"


def keep_shared_keys(section: dict[str, Any], name: str) -> dict[str, Any]:
    """Return a ``selection`` section without the keys of its own method that another method does not have.

    Keys that its own method does not have either stay, for the other method to refuse.

    Args:
        section: The section.
        name: The other method.
    """
    before, after = find_method(method_of_section(section)), find_method(name)
    if before is None or after is None or before is after:
        return section
    return {key: value for key, value in section.items() if key in after.model_fields or key not in before.model_fields}


class _EveryMethod:
    """Describes a ``selection`` section in JSON Schema as one branch a method."""

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        union: Any = Annotated[Union[tuple(_all_methods())], Field(discriminator="method")]  # noqa: UP007
        branches = handler(TypeAdapter(union).core_schema)
        return {"anyOf": [{"enum": method_names()}, {"type": "null"}, branches]}


SelectionSection = Annotated[SerializeAsAny[MethodConfig], BeforeValidator(parse_method), _EveryMethod()]
"""A recipe's ``selection``: a union of the methods' schemas, discriminated by ``method``, open to new methods."""
