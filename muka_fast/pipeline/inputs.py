"""Inputs of a run that are in memory, loaded models and texts, written where a recipe can name them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from muka_fast.config.loading import build_recipe
from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import DataSpec, StudentSpec, TeacherSpec
from muka_fast.data.corpus import TEXT_NAMES, guess_column, is_missing, text_value
from muka_fast.errors import CorpusError, ModelError, first_line
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.runtime.files import atomic_write, remove, temporary_sibling


class LoadedModel(Protocol):
    """A model with its tokenizer: a transformers pipeline, or a :class:`muka_fast.Classifier`."""

    @property
    def model(self) -> Any:
        """A transformers model."""

    @property
    def tokenizer(self) -> Any:
        """Its tokenizer."""


ModelInput = str | os.PathLike[str] | Mapping[str, Any] | tuple[Any, Any] | LoadedModel
"""A folder, a hub id, a section of a recipe, a pair of a loaded model and its tokenizer, or an object with both."""
TextInput = DataSpec | str | os.PathLike[str] | Iterable[Any]
"""A section of a recipe, the name of a file, or texts (strings, or pairs of strings) in a list, column or table."""

Teachers = Sequence[ModelInput | TeacherSpec] | Mapping[str, ModelInput | TeacherSpec]
"""Teachers in a list, or by their names."""
LabelledInput = TextInput | tuple[Iterable[Any], Iterable[Any]]
"""Texts with a column of labels in a file, or a pair of texts and labels."""


def texts_in_memory(values: Any, where: str = "texts") -> tuple[list[str], list[str] | None]:
    """Return texts that a list, array, Series, or column or table of texts holds, and the second texts of pairs.

    Args:
        values: Strings or pairs of strings. Of a table (``datasets.Dataset``, data frame) the column ``text`` is read,
            or another one that is called as a column of texts is.
        where: Name of the argument, for messages.

    Raises:
        CorpusError: If there are no texts, a value is not text, or a table has no such column.
        TypeError: If ``values`` is one string.
    """
    if isinstance(values, str):
        raise TypeError(f"{where}: give a list of texts, not one string")
    if isinstance(values, Mapping):
        raise TypeError(f"{where}: give the texts, or a table; a mapping is a section of a recipe")
    names = getattr(values, "column_names", None)
    names = getattr(values, "columns", None) if names is None else names
    if names is not None:
        columns = [str(name) for name in names]
        column = guess_column(columns, TEXT_NAMES)
        if column is None:
            what = f"no text column among columns: {', '.join(columns)}"
            raise CorpusError(what, where=where, hint="give the column itself: data['NAME']")
        values = values[column]
    items = list(values)
    if not items:
        raise CorpusError("no texts", where=where, hint="give one or more texts")
    paired = isinstance(items[0], tuple | list)
    if not paired:
        return [text_value(item, "text", f"{where}[{index}]") for index, item in enumerate(items)], None
    for index, item in enumerate(items):
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise CorpusError("not a pair of texts", where=f"{where}[{index}]", hint="give pairs only, or texts only")
    first, second = (
        [text_value(item[side], "text", f"{where}[{index}]") for index, item in enumerate(items)] for side in (0, 1)
    )
    return first, second


def labels_in_memory(values: Any, count: int, where: str = "labels") -> list[str | None]:
    """Return the names of labels, None for those that are missing: None, NaN, NA of pandas, or an empty string.

    Args:
        values: One value for each text.
        count: Number of the texts.
        where: Name of the argument, for messages.

    Raises:
        CorpusError: If their number is not that of the texts.
    """
    names = [_label_name(value) for value in values]
    if len(names) != count:
        raise CorpusError(f"{count} texts and {len(names)} labels", where=where, hint="give one label for each text")
    return names


def _label_name(value: Any) -> str | None:
    if isinstance(value, str):
        return value or None
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))  # pandas makes floats of whole numbers beside a missing one
    name = str(value)  # the NaN of numpy's float32 is no float of Python, and pandas has an NA of its own
    return None if is_missing(value) or name in ("nan", "<NA>") else name


class InputFolder:
    """Where inputs are written, each under a hash of its content: the same input is the same path again.

    Args:
        path: The folder; it is made when something is written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def teacher(self, given: ModelInput | TeacherSpec, name: str | None = None) -> TeacherSpec | dict[str, Any]:
        """Return the section of a teacher, after its model is written if it is in memory.

        Args:
            given: The teacher.
            name: Its name; default: that of the folder, hub id or model.

        Raises:
            ModelError: If the model has no tokenizer, or cannot be saved.
        """
        named = {} if name is None else {"name": name}
        if isinstance(given, TeacherSpec):
            return given.model_copy(update=named)
        return self._section(given, "teacher") | named

    def student(self, given: ModelInput | StudentSpec) -> StudentSpec | dict[str, Any]:
        """Return the section of the student, after its model is written if it is in memory.

        Raises:
            ModelError: If the model has no tokenizer, or cannot be saved.
        """
        return given if isinstance(given, StudentSpec) else self._section(given, "student")

    def _section(self, given: Any, role: str) -> dict[str, Any]:
        if isinstance(given, str | os.PathLike):
            return {"model": str(given)}
        if isinstance(given, Mapping):
            return dict(given)
        if isinstance(given, tuple) and len(given) == 2:
            model, tokenizer = given
        else:
            model, tokenizer = getattr(given, "model", None), getattr(given, "tokenizer", None)
        if not all(hasattr(one, "save_pretrained") for one in (model, tokenizer)) or not hasattr(model, "config"):
            raise ModelError(
                f"{type(given).__name__} is no model with its tokenizer",
                where=role,
                hint="give (model, tokenizer), a transformers pipeline, a folder or a hub id",
            )
        return {"model": str(self._save(model, tokenizer, role))}

    def _save(self, model: Any, tokenizer: Any, role: str) -> Path:
        source = Path(str(getattr(model, "name_or_path", ""))).name or str(model.config.model_type)
        name = re.sub(r"[^\w.-]+", "-", source).lstrip(".-") or role
        self.path.mkdir(parents=True, exist_ok=True)
        staging = temporary_sibling(self.path / name)
        try:
            model.save_pretrained(staging)
            tokenizer.save_pretrained(staging)
            folder = self.path / Checkpoint(staging, None, role).fingerprint(("*",))[:16] / name
            folder.parent.mkdir(exist_ok=True)
            if not folder.exists():
                try:
                    staging.replace(folder)
                except OSError:
                    if not folder.exists():  # else another process of this run was faster
                        raise
            return folder
        except (ValueError, RuntimeError, NotImplementedError) as error:
            what = f"cannot save the model: {first_line(error)}"
            raise ModelError(what, where=f"{role} {name}", hint="save it yourself, and give the folder") from None
        finally:
            if staging.exists():
                remove(staging)

    def texts(
        self, given: TextInput, labels: Sequence[Any] | None = None, where: str = "texts"
    ) -> DataSpec | dict[str, Any]:
        """Return the section of some texts, after they are written if they are in memory.

        Args:
            given: The texts; a mapping is a section of a recipe.
            labels: Their labels; texts without one are left out. None for unlabelled texts.
            where: Name of the argument, for messages.

        Raises:
            CorpusError: If there are no texts, a value is not text, or texts and labels differ in number.
        """
        if isinstance(given, DataSpec):
            return given
        if isinstance(given, Mapping):
            return dict(given)
        if isinstance(given, str | os.PathLike):
            return DataSpec(texts=[str(given)])
        texts, pairs = texts_in_memory(given, where)
        columns: dict[str, Sequence[str | None]] = {"text": texts}
        if pairs is not None:
            columns["pair"] = pairs
        if labels is not None:
            columns["label"] = labels_in_memory(labels, len(texts), where)
        rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
        kept = [json.dumps(row) + "\n" for row in rows if labels is None or row["label"] is not None]
        if not kept:
            raise CorpusError(
                "no text has a label", where=where, hint="give a label to some texts, or leave labels out"
            )
        content = "".join(kept).encode()
        path = self.path / f"texts-{hashlib.sha256(content).hexdigest()[:16]}.jsonl"
        if not path.exists():
            self.path.mkdir(parents=True, exist_ok=True)
            atomic_write(path, content)
        return DataSpec(
            texts=[str(path)],
            text_column="text",
            pair_column=None if pairs is None else "pair",
            label_column=None if labels is None else "label",
        )


def recipe_of_inputs(output: Path, inputs: Mapping[str, Any], others: Mapping[str, Any]) -> Recipe:
    """Return the recipe of the arguments of :func:`muka_fast.amalgamate`; what is in memory is written to a folder.

    Args:
        output: The student's folder. The inputs' folder is called the same with ``-inputs`` at the end.
        inputs: ``teachers``, ``texts`` and ``student``.
        others: ``test``, ``labelled`` and other keys of a recipe; None for those that are not given.

    Raises:
        MukaError: If an input cannot be used.
    """
    folder = InputFolder(output.absolute().with_name(f"{output.absolute().name}-inputs"))

    def labelled(given: Any, where: str) -> DataSpec | dict[str, Any]:
        texts, labels = given if isinstance(given, tuple) else (given, None)
        return folder.texts(texts, labels, where)

    teachers: Any = inputs["teachers"]
    named = teachers.items() if isinstance(teachers, Mapping) else ((None, teacher) for teacher in teachers)
    tree = {key: value for key, value in others.items() if value is not None and key != "labelled"} | {
        "teachers": [folder.teacher(teacher, name) for name, teacher in named],
        "data": folder.texts(inputs["texts"]),
        "student": folder.student(inputs["student"]),
        "output": str(output),
    }
    if others["test"] is not None:
        tree["test"] = labelled(others["test"], "test")
    if others["labelled"] is not None:
        method = tree.get("selection", {})
        section = {"method": method} if isinstance(method, str) else dict(method)
        tree["selection"] = section | {"labelled": labelled(others["labelled"], "labelled")}
    return build_recipe(tree, where="amalgamate", base=Path.cwd())
