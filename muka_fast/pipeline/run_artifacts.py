"""A finished run, read back: what it was made of, and whether that is still the same."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from muka_fast.config.loading import read_recipe
from muka_fast.config.recipe import Recipe
from muka_fast.data.label_space import LabelSpace
from muka_fast.errors import ModelError
from muka_fast.models.student import encoder_fingerprint
from muka_fast.models.teacher import Teacher, describe_teachers
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.selection.mixture import MIXTURE_FILE, TeacherMixture


def _reported(folder: str | Path, section: str, key: str) -> str | None:
    """Return what the recipe of the finished run in a folder says; None if there is no run, or nothing said."""
    run = RunDirectory(folder)
    if not run.record.is_file():
        return None
    try:
        found = yaml.safe_load(run.recipe.read_text(encoding="utf-8"))[section][key]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
        return None
    return None if found is None else str(found)


def method_of(folder: str | Path) -> str | None:
    """Return the method of the finished run in a folder; None if there is none."""
    return _reported(folder, "selection", "method")


def is_ensemble(folder: str | Path) -> bool:
    """Return whether a folder is what ``amalgamate`` wrote for the method ``ensemble``."""
    return method_of(folder) == "ensemble"


def pair_column_of(folder: str | Path) -> str | None:
    """Return the second column of the texts that a finished run was made from; None if they were single, or no run."""
    return _reported(folder, "data", "pair_column")


@dataclass(frozen=True)
class RunArtifacts:
    """What a run was made of.

    Attributes:
        recipe: Its recipe.
        teachers: Its teachers.
        space: The union of their labels.
        model: What the pool taught; None if it was not asked.
        changed: What is not the same any more: a teacher, or the encoder of the pool's embeddings; empty if nothing.
    """

    recipe: Recipe
    teachers: tuple[Teacher, ...]
    space: LabelSpace
    model: TeacherMixture | None
    changed: str

    @classmethod
    def read(cls, folder: str | Path) -> RunArtifacts:
        """Read an output folder of ``amalgamate``.

        Raises:
            MukaError: If it is damaged, or a teacher is gone.
        """
        run = RunDirectory(folder)
        recipe = read_recipe(run.recipe)
        try:
            record = json.loads(run.record.read_text(encoding="utf-8"))
            told = [dict(teacher) for teacher in record["teachers"]]
        except (OSError, ValueError, KeyError, TypeError):
            raise ModelError(
                "the run's record cannot be read", where=str(run.record), hint="amalgamate again"
            ) from None
        teachers = tuple(describe_teachers(recipe.teachers, recipe.uncertainty.inject_dropout))
        space = LabelSpace.union({teacher.name: teacher.labels for teacher in teachers}, recipe.labels.same_name)
        path = run.path / MIXTURE_FILE
        model = TeacherMixture.load(path) if path.exists() else None
        if model is not None and len(model.teachers) != len(teachers):
            raise ModelError("what the pool taught is of other teachers", where=str(path), hint="amalgamate again")
        return cls(recipe, teachers, space, model, _changed(recipe, teachers, told, record))


def _changed(recipe: Recipe, teachers: tuple[Teacher, ...], told: list[dict[str, Any]], record: dict[str, Any]) -> str:
    if len(told) != len(teachers):
        return "the list of teachers"
    for teacher, before in zip(teachers, told, strict=True):
        now = {"fingerprint": teacher.fingerprint, "tokenizer": teacher.tokenizer_fingerprint}
        if any(key in before and before[key] != value for key, value in now.items()):
            return f"teacher {teacher.name}"
    if record.get("encoder") is not None and record["encoder"] != encoder_fingerprint(recipe.student):
        return f"the encoder {recipe.student.model}"
    return ""
