"""The artefacts of a finished run, and whether its inputs have changed since."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from muka_fast.config.loading import read_recipe
from muka_fast.config.methods import find_method
from muka_fast.config.recipe import Recipe
from muka_fast.data.label_space import LabelSpace
from muka_fast.errors import ModelError
from muka_fast.evaluation.run_record import RunRecord, read_run_record
from muka_fast.models.integrity import require_intact
from muka_fast.models.student import encoder_fingerprint
from muka_fast.models.teacher import AnyTeacher, Teacher, describe_teachers
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.arrays import load_arrays
from muka_fast.runtime.parsing import UnreadableError, read_yaml
from muka_fast.selection.in_domain import MODEL_FILE, InDomainModel
from muka_fast.selection.text_vectors import encoder_spec


def _reported(folder: str | Path, section: str, key: str) -> Any:
    """Return a key of the recipe of the finished run in a folder; None if there is no run or no such key."""
    run = RunDirectory(folder)
    if not run.record.is_file() or not run.recipe.is_file():
        return None
    require_intact(run.path, str(run.path), only=(run.recipe.name,))
    try:
        return read_yaml(run.recipe)[section][key]
    except (UnreadableError, LookupError, TypeError):
        return None


def method_of(folder: str | Path) -> str | None:
    """Return the method of the finished run in a folder; None if there is none."""
    found = _reported(folder, "selection", "method")
    return None if found is None else str(found)


def is_ensemble(folder: str | Path) -> bool:
    """Return whether a folder holds a finished run without a student, whose teachers answer together."""
    name = method_of(folder)
    method = None if name is None else find_method(name)
    return method is not None and not method.trains_student


def pair_column_of(folder: str | Path) -> str | None:
    """Return the column of the second texts of a finished run; None if its texts are single, or there is no run."""
    found = _reported(folder, "data", "pair_column")
    return None if found is None else str(found)


def label_map_of(folder: str | Path) -> dict[str, str]:
    """Return the names of merged classes of a finished run, and their names in its label space; empty without a run."""
    found = _reported(folder, "labels", "map")
    return {str(name): str(target) for name, target in found.items()} if isinstance(found, dict) else {}


@dataclass(frozen=True)
class RunArtifacts:
    """The inputs of a finished run, and its selection model.

    Attributes:
        recipe: Its recipe.
        teachers: Its teachers.
        space: The union of their labels.
        model: The rule fitted to the pool; None for methods without one.
        changed: What has changed since: a teacher, or the encoder of the text embeddings; empty if nothing.
    """

    recipe: Recipe
    teachers: tuple[AnyTeacher, ...]
    space: LabelSpace
    model: InDomainModel | None
    changed: str

    @classmethod
    def read(cls, folder: str | Path) -> RunArtifacts:
        """Read an output folder of ``amalgamate``.

        Raises:
            OtherVersionError: If another version of muka-fast wrote it.
            MukaError: If it is damaged, or a teacher is missing.
        """
        run = RunDirectory(folder)
        record = read_run_record(run.record)  # first: the recipe of another version may have other keys
        require_intact(run.path, str(run.path), only=(run.recipe.name, MODEL_FILE))
        recipe = read_recipe(run.recipe)
        teachers = tuple(describe_teachers(recipe.teachers, recipe.uncertainty.inject_dropout, recipe.data.pair_column))
        labels = {teacher.name: teacher.labels for teacher in teachers}
        space = LabelSpace.union(labels, recipe.labels.same_name, recipe.labels.map)
        path = run.path / MODEL_FILE
        model = _read_model(path) if path.exists() else None
        if model is not None and len(model.teachers) != len(teachers):
            raise ModelError("the selection model is of other teachers", where=str(path), hint="amalgamate again")
        return cls(recipe, teachers, space, model, _changed(recipe, teachers, record))


def _read_model(path: Path) -> InDomainModel:
    try:
        return load_arrays(path, InDomainModel)
    except UnreadableError:
        raise ModelError("the selection model cannot be read", where=str(path), hint="amalgamate again") from None


def _changed(recipe: Recipe, teachers: tuple[AnyTeacher, ...], record: RunRecord) -> str:
    if len(record.teachers) != len(teachers):
        return "the list of teachers"
    for teacher, before in zip(teachers, record.teachers, strict=True):
        tokenizer = teacher.tokenizer_fingerprint if isinstance(teacher, Teacher) else None
        if (teacher.fingerprint, tokenizer) != (before.fingerprint, before.tokenizer_fingerprint):
            return f"teacher {teacher.name}"
    encoder = encoder_spec(recipe)
    if encoder is not None and record.encoder_fingerprint not in (None, encoder_fingerprint(encoder)):
        return f"the encoder {encoder.model}"
    return ""
