"""Recipes from YAML files and overrides: paths made absolute, errors that name the key and the correction."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from muka_fast.config.methods import find_method, keep_shared_keys, method_of_section, unknown_key_hint
from muka_fast.config.portable import HUB_ID
from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import DataSpec, LabelNames, TeacherSpec
from muka_fast.errors import RecipeError
from muka_fast.runtime.parsing import UnreadableError, parse_yaml, read_text

_SHORTHAND = {"data": "texts", "test": "texts", "selection": "method", "labelled": "texts"}
"""Key that a section's bare value is of, where it is not ``model``."""


def expand_user(value: str, where: str) -> Path:
    """Return a path with ``~`` replaced by a home folder.

    Raises:
        RecipeError: If there is no such user, or the path holds a NUL.
    """
    if "\0" in value:
        raise RecipeError("a path holds a NUL character", where=where, hint="remove it")
    try:
        return Path(value).expanduser()
    except RuntimeError:
        raise RecipeError(f"no home folder for {value!r}", where=where, hint="write the path in full") from None


def _anchored(value: str, base: Path, *, must_exist: bool, what: str) -> str:
    """Make a local path absolute, relative to the recipe's folder; leave a hub id as it is."""
    path = expand_user(value, what)
    candidate = path if path.is_absolute() else base / path
    if candidate.exists() or not must_exist:
        return str(Path(os.path.abspath(candidate)))
    looks_local = value.startswith((".", "/", "~")) or value.count("/") > 1 or not HUB_ID.fullmatch(value)
    if looks_local or (base / path.parts[0]).is_dir():
        raise RecipeError(f"no such {what}: {value}", where=str(candidate), hint="check the path")
    return value


def anchor(recipe: Recipe, base: Path) -> Recipe:
    """Make a recipe's local paths absolute, relative ones from ``base``; leave hub ids as they are.

    Raises:
        RecipeError: If something that looks like a folder is not there.
    """

    def model(value: str | None, what: str) -> str | None:
        return None if value is None else _anchored(value, base, must_exist=True, what=what)

    def files(sources: Sequence[str]) -> list[str]:
        return [
            source if source.startswith("hub:") else _anchored(source, base, must_exist=False, what="file")
            for source in sources
        ]

    def data(spec: DataSpec) -> DataSpec:
        return spec.model_copy(update={"texts": files(spec.texts)})

    def names(spec: LabelNames) -> LabelNames:
        update: dict[str, Any] = {"texts": spec.texts and data(spec.texts)}
        if spec.file is not None:
            update["file"] = _anchored(spec.file, base, must_exist=False, what="file")
        if spec.dataset is not None and not spec.dataset.startswith("hub:"):
            update["dataset"] = _anchored(spec.dataset, base, must_exist=True, what="data set folder")
        return spec.model_copy(update=update)

    def teacher(spec: TeacherSpec) -> TeacherSpec:
        if isinstance(spec.labels, LabelNames):
            spec = spec.model_copy(update={"labels": names(spec.labels)})
        if spec.predictions is None:
            return spec.model_copy(
                update={"model": model(spec.model, "teacher folder"), "base": model(spec.base, "base model's folder")}
            )
        anchored = spec.predictions.model_copy(update={"files": files(spec.predictions.files)})
        return spec.model_copy(update={"predictions": anchored})

    teachers = [teacher(spec) for spec in recipe.teachers]
    student = recipe.student.model_copy(
        update={
            "model": model(recipe.student.model, "student folder"),
            "config": recipe.student.config and _anchored(recipe.student.config, base, must_exist=False, what="file"),
            "tokenizer": model(recipe.student.tokenizer, "tokenizer folder"),
        }
    )
    selection = recipe.selection
    if (encoder := selection.text_encoder) is not None:
        anchored = encoder.model_copy(update={"model": model(encoder.model, "encoder folder")})
        selection = selection.with_text_encoder(anchored)
    if (labelled := selection.labelled_texts) is not None:
        selection = selection.model_copy(update={"labelled": data(labelled)})
    return recipe.model_copy(
        update={
            "selection": selection,
            "teachers": teachers,
            "student": student,
            "data": data(recipe.data),
            "test": data(recipe.test) if recipe.test else None,
            "output": _anchored(recipe.output, base, must_exist=False, what="folder"),
            "scores": recipe.scores and _anchored(recipe.scores, base, must_exist=False, what="folder"),
        }
    )


def _known_keys(path: Sequence[str | int], tree: dict[str, Any]) -> list[str]:
    """Keys allowed in the section that ``path`` leads to."""
    model: Any = Recipe
    for part in path:
        if isinstance(part, int):
            continue
        if model is Recipe and part == "selection":
            model = find_method(method_of_section(tree["selection"]))
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        options = [field.annotation, *get_args(field.annotation)]
        model = next((o for o in options if isinstance(o, type) and issubclass(o, BaseModel)), None)
        if model is None:
            return []
    return list(model.model_fields)


def _known_key_hint(path: Sequence[str | int], tree: dict[str, Any]) -> str:
    """Return how to correct the unknown key at ``path`` of a recipe."""
    if path[:-1] == ["selection"]:
        return unknown_key_hint(method_of_section(tree["selection"]), str(path[-1]))
    known = _known_keys(path[:-1], tree)
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(known)}"


def _explain(error: ValidationError, where: str, tree: dict[str, Any]) -> RecipeError:
    found = error.errors()
    first = next((one for one in found if one["type"] == "extra_forbidden"), found[0])
    path = list(first["loc"])
    key = ".".join(str(part) for part in path)
    if first["type"] == "extra_forbidden":
        return RecipeError(f"unknown key {key!r}", where=where, hint=_known_key_hint(path, tree))
    if first["type"] == "missing":
        return RecipeError(f"the recipe lacks {key!r}", where=where, hint=f"add {key!r}; see 'muka-fast init'")
    if path == ["teachers"] and first["type"] == "too_short":
        return RecipeError(
            f"{first['ctx']['actual_length']} teacher(s) given, at least 2 are needed",
            where=where,
            hint="list two or more fine-tuned classifiers under 'teachers'",
        )
    if "hint" in first.get("ctx", {}):
        return RecipeError(f"{key}: {first['msg']}", where=where, hint=first["ctx"]["hint"])
    message = first["msg"].removeprefix("Value error, ")
    given = first["input"] if isinstance(first["input"], str | int | float | bool | None) else None
    suffix = "" if given is None or first["type"] == "value_error" else f" (given: {given!r})"
    return RecipeError(
        f"{key}: {message}{suffix}" if key else message, where=where, hint="correct this key; see 'muka-fast init'"
    )


def _parse_assignment(assignment: str) -> tuple[str, Any]:
    """Split ``section.key=value`` into the dotted key and the value as YAML reads it."""
    key, separator, raw = assignment.partition("=")
    if not separator or not key:
        raise RecipeError(f"cannot read {assignment!r}", where="--set", hint="write --set section.key=value")
    try:
        return key, parse_yaml(raw)
    except UnreadableError as error:
        raise RecipeError(f"cannot read the value of {key!r}: {raw}", where="--set", hint="quote it") from error


def _set(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    for parent in parents:
        child = tree.get(parent)
        if child is None:
            child = tree[parent] = {}
        elif isinstance(child, str | list):
            child = tree[parent] = {_SHORTHAND.get(parent, "model"): child}
        if not isinstance(child, dict):
            raise RecipeError(f"{key!r} does not lead to a key", where="--set", hint="see 'muka-fast init'")
        tree = child
    tree[last] = value


def build_recipe(tree: dict[str, Any], *, where: str, base: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Check a recipe given as plain data and make its local paths absolute.

    An override of ``selection.method`` replaces the method of ``tree``, whose other keys go with it, except those that
    the new method has too.

    Args:
        tree: Nested dicts and lists, as YAML gives them.
        where: The recipe's origin, for messages.
        base: Folder that relative paths start from.
        overrides: ``section.key=value`` assignments that win over ``tree``.

    Raises:
        RecipeError: On an unknown key (with the nearest known one), a wrong type, or a missing path.
    """
    assignments = [_parse_assignment(assignment) for assignment in overrides]
    section, method = tree.get("selection"), dict(assignments).get("selection.method")
    if isinstance(section, dict) and method is not None:
        tree["selection"] = keep_shared_keys(section, str(method))
    for key, value in assignments:
        _set(tree, key, value)
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as error:
        raise _explain(error, where, tree) from None
    return anchor(recipe, base)


def read_tree(file: Path) -> dict[str, Any]:
    """Read a recipe file as plain data.

    Raises:
        RecipeError: If it is missing, not text, not YAML or not a mapping.
    """
    try:
        text = read_text(file)
    except FileNotFoundError:
        raise RecipeError("no such recipe", where=str(file), hint="'muka-fast init RECIPE' writes one") from None
    except UnreadableError as error:
        raise RecipeError(f"cannot read the recipe: {error}", where=str(file), hint="give a YAML text file") from None
    try:
        tree = parse_yaml(text)
    except UnreadableError as error:
        where = str(file) if error.line is None else f"{file}:{error.line}"
        raise RecipeError(f"the recipe is {error}", where=where, hint="correct this line") from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise RecipeError("the recipe is not a mapping of keys to values", where=str(file), hint="see 'muka-fast init'")
    return tree


def read_recipe(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe from a YAML file; relative paths in it start from the file's folder.

    Args:
        path: The file.
        overrides: ``section.key=value`` assignments that win over it.

    Raises:
        RecipeError: On an unknown key (with the nearest known one), a wrong type, or a missing path.
    """
    file = Path(path)
    return build_recipe(read_tree(file), where=str(file), base=file.resolve().parent, overrides=overrides)


def template() -> str:
    """Return a commented recipe."""
    return (Path(__file__).parent / "template.yaml").read_text(encoding="utf-8")
