"""A recipe resolved: teachers, label space, texts and student found and checked before the run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.config.loading import anchor
from muka_fast.config.recipe import Recipe
from muka_fast.config.specs import DataSpec, LabelNames, StudentSpec, TeacherSpec
from muka_fast.data.corpus import Corpus, read_corpus
from muka_fast.data.few_labels import GivenLabels, add_labelled, read_labelled
from muka_fast.data.label_space import LabelSpace, match_labels, rename_labels
from muka_fast.data.tokenization import tokenize
from muka_fast.distillation.method import Method, get_method, require_predictions_suffice
from muka_fast.distillation.training_args import check_settings
from muka_fast.errors import CorpusError, ErrorCollector, MachineError, OutputError, RecipeError, ScoreStoreError
from muka_fast.inference.output_names import names_from_texts
from muka_fast.models.deterministic_teacher import TokenizedTeacher
from muka_fast.models.integrity import MARKER
from muka_fast.models.loading import read_tokenizer
from muka_fast.models.predictions_teacher import PredictionsTeacher
from muka_fast.models.student import read_student_tokenizer, resolve_student
from muka_fast.models.teacher import AnyTeacher, Teacher, describe_teachers, predictions_of
from muka_fast.runtime.device import choose_device
from muka_fast.runtime.distributed import SINGLE_PROCESS, DistributedContext
from muka_fast.runtime.files import is_writable
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.score_pool import manifest
from muka_fast.scoring.store import MANIFEST, ScoreStore
from muka_fast.uncertainty.dropout_sites import require_sites

THRESHOLD_LABELS = 16
"""Labelled texts from which on a threshold is chosen by them; half of them are held out for it."""


@dataclass(frozen=True)
class Plan:
    """A resolved recipe; nothing is computed yet.

    Attributes:
        recipe: The recipe, with absolute paths and pinned revisions.
        teachers: The teachers, in the recipe's order.
        space: The union of their labels.
        corpus: The pool of texts: those of ``data``, then those of ``selection.labelled`` that are not among them.
        test: The labelled texts of ``test``, if the recipe has some.
        device: Device to compute on.
        labels: The labels of ``selection.labelled``; None without them.
    """

    recipe: Recipe
    teachers: tuple[AnyTeacher, ...]
    space: LabelSpace
    corpus: Corpus
    test: Corpus | None
    device: torch.device
    labels: GivenLabels | None = None

    @property
    def tables(self) -> list[bool]:
        """Which teachers are tables of predictions, (T,)."""
        return [isinstance(teacher, PredictionsTeacher) for teacher in self.teachers]

    @property
    def method(self) -> Method:
        """The recipe's method."""
        return get_method(self.recipe)

    def scores(self, output: Path) -> Path:
        """Return the folder of the score store of a run with this output folder."""
        return Path(self.recipe.scores) if self.recipe.scores else output / "scores"

    def manifest(self, corpus: Corpus) -> dict[str, Any]:
        """Return the manifest of these texts' scores: everything that the scores depend on."""
        return manifest(self.teachers, corpus, self.recipe.resolved_uncertainty, self.recipe.seed)

    @property
    def overwrite_hint(self) -> str:
        """What to do about an earlier run in the output folder, and what of it can be used again."""
        return f"--overwrite, or another folder{self._reuse_hint}"

    @property
    def _reuse_hint(self) -> str:
        """How another run uses the scores in the output folder; empty if it cannot."""
        folder = self.scores(Path(self.recipe.output))
        try:
            ScoreStore.exists_for(folder, self.manifest(self.corpus), extend=True)
        except ScoreStoreError:
            return ""
        if self.recipe.scores is not None or not (folder / MANIFEST).exists():
            return ""
        return f"; '-o ANOTHER --set scores={folder}' uses its scores again"

    def open_store(self, folder: Path, corpus: Corpus) -> ScoreStore:
        """Make or open the score store of these texts; one that the recipe names takes further teachers.

        Raises:
            ScoreStoreError: If the folder holds other scores.
        """
        return ScoreStore(folder, self.manifest(corpus), extend=self.recipe.scores is not None)

    def is_outdated(self, *, overwrite: bool) -> bool:
        """Return whether the scores in the output folder are of other inputs and are to be discarded.

        Args:
            overwrite: Whether scores of other inputs may be discarded.

        Raises:
            ScoreStoreError: If the scores are of other inputs and may not be discarded.
        """
        expected, folder = self.manifest(self.corpus), self.scores(Path(self.recipe.output))
        if self.recipe.scores is not None:
            ScoreStore.exists_for(folder, expected, extend=True)
            return False
        hint = f"start over with --overwrite, or choose another output folder{self._reuse_hint}"
        try:
            ScoreStore.exists_for(folder, expected, hint)
        except ScoreStoreError:
            if not overwrite:
                raise
            return True
        return False


def resolve_recipe(
    recipe: Recipe, progress: Progress | None = None, group: DistributedContext = SINGLE_PROCESS
) -> Plan:
    """Find and check teachers, labels, student and texts; nothing is computed or written.

    Teachers, student and training settings are checked independently of each other: one message has all their errors.

    Raises:
        MukaError: If one of them is missing or unusable.
    """
    progress = progress or Progress()
    recipe = anchor(recipe, Path.cwd())  # a recipe built in Python may hold relative paths
    _require_folders(recipe)
    for message in recipe.unused_settings():
        progress.log(message)
    device = choose_device(recipe.device)
    errors = ErrorCollector()
    specs: list[TeacherSpec] = []
    teachers: tuple[AnyTeacher, ...] = ()
    for spec in recipe.teachers:
        with errors.checking():
            specs.append(_with_names(spec, recipe.data, device, progress))
    with errors.checking():
        teachers = tuple(
            describe_teachers(specs, recipe.uncertainty.inject_dropout, recipe.data.pair_column, log=progress.log)
        )
    for one in teachers:
        with errors.checking():
            _check_method(recipe, one)
    with errors.checking():
        check_settings(recipe.training, group)
    student, selection = recipe.student, recipe.selection
    with errors.checking():
        student = resolve_student(student)
    if (encoder := selection.text_encoder) is not None:
        with errors.checking():
            revision = resolve_student(StudentSpec(**encoder.model_dump()), "encoder").revision
            selection = selection.with_text_encoder(encoder.model_copy(update={"revision": revision}))
    errors.raise_all()
    label_map = recipe.labels.map
    space = LabelSpace.union({teacher.name: teacher.labels for teacher in teachers}, recipe.labels.same_name, label_map)
    scratch = Path(recipe.output).parent
    corpus, labels = read_corpus(recipe.data, log=progress.log, scratch=scratch), None
    _check_shares(recipe, space)
    if recipe.selection.labelled_texts is not None:
        labelled = read_labelled(recipe.selection.labelled_texts, recipe.data, space.names, label_map, progress.log)
        _check_labels_of_absent(recipe, space, labelled.classes)
        if recipe.student.target_accuracy is not None and len(labelled.classes) < THRESHOLD_LABELS:
            raise RecipeError(
                f"{len(labelled.classes)} labelled texts with a known class are too few to choose a threshold",
                where="student.target_accuracy",
                hint=f"label {THRESHOLD_LABELS} or more, or give abstain_below instead",
            )
        corpus, labels = add_labelled(corpus, labelled, scratch)
    for table in predictions_of(teachers):
        table.require_answers(corpus, progress.log)
    if recipe.data.long_texts == "error":
        for teacher in teachers:
            if isinstance(teacher, Teacher | TokenizedTeacher):
                tokenizer = read_tokenizer(teacher.checkpoint.tokenizer)
                _refuse_long(corpus, tokenizer, teacher.max_length, f"teacher {teacher.name}", scratch)
    test = None
    if recipe.test is not None:
        test = read_corpus(recipe.test, with_labels=True, distinct=False, log=progress.log)
        test = replace(test, labels=rename_labels(test.labels or (), label_map))
        match_labels(space.names, test.labels or (), where=", ".join(recipe.test.texts))
    if recipe.data.long_texts == "error" and recipe.selection.trains_student:
        _refuse_long(corpus, *read_student_tokenizer(student), "the student", scratch)
    pinned = recipe.model_copy(
        update={"teachers": [teacher.spec for teacher in teachers], "student": student, "selection": selection}
    )
    return Plan(pinned, teachers, space, corpus, test, device, labels)


def _with_names(spec: TeacherSpec, data: DataSpec, device: torch.device, progress: Progress) -> TeacherSpec:
    """Return a teacher with the names of its outputs listed if they follow from labelled texts."""
    texts = spec.labels.texts if isinstance(spec.labels, LabelNames) else None
    if texts is None:
        return spec
    texts = texts.model_copy(update={"pair_column": texts.pair_column or data.pair_column})
    return spec.model_copy(update={"labels": names_from_texts(spec, texts, device, progress.log)})


def _check_method(recipe: Recipe, teacher: AnyTeacher) -> None:
    """Refuse a teacher that lacks what the method, or its dropout passes, read."""
    if not isinstance(teacher, Teacher):
        require_predictions_suffice(
            recipe.selection,
            teacher.name,
            teacher.NOUN,
            logits=teacher.gives_logits,
            features=teacher.gives_features,
            missing=teacher.missing,
        )
    elif recipe.uncertainty.passes:
        require_sites(teacher.sites, teacher.checkpoint.where)


def _check_shares(recipe: Recipe, space: LabelSpace) -> None:
    """Refuse known shares of teachers that the recipe does not have, and shares that leave no teacher a text."""
    shares = recipe.selection.known_shares
    if shares and not any(shares.get(name, 1.0) for name in space.teachers):
        raise RecipeError(
            "every teacher has the share 0",
            where="selection.shares",
            hint="give 0 to teachers without texts in the pool alone",
        )
    unknown = [name for name in shares if name not in space.teachers]
    if unknown:
        raise RecipeError(
            f"no teacher is named {unknown[0]!r}",
            where="selection.shares",
            hint=f"name teachers as in this list: {', '.join(space.teachers)}",
        )


def _check_labels_of_absent(recipe: Recipe, space: LabelSpace, classes: np.ndarray) -> None:
    """Refuse labels, columns (n,), that only teachers of share 0 know."""
    shares = recipe.selection.known_shares
    present = np.array([shares.get(name, 1.0) > 0 for name in space.teachers])
    wrong = np.flatnonzero(~space.membership[present][:, classes].any(0))
    if len(wrong):
        raise RecipeError(
            f"a labelled text is {space.names[classes[wrong[0]]]!r}, a class that only teachers of share 0 know",
            where="selection.shares",
            hint="give these teachers a share, or leave it out",
        )


def _require_folders(recipe: Recipe) -> None:
    """Refuse output and scores folders whose path contains a file."""
    for key, folder in (("output", recipe.output), ("scores", recipe.scores)):
        paths = () if folder is None else (Path(folder), *Path(folder).parents)
        file = next((path for path in paths if path.exists() and not path.is_dir()), None)
        if file is not None:
            raise OutputError(f"{key}: a file where a folder should be", where=str(file), hint="choose another folder")
    if recipe.scores is not None:
        _require_safe_store(Path(recipe.scores), Path(recipe.output))


def _require_safe_store(scores: Path, output: Path) -> None:
    """Refuse a score store in a place where this run, or a later one, deletes it."""
    place, outputs = scores.resolve(), [output.resolve()]
    outputs += [folder for folder in (place, *place.parents) if (folder / MARKER).exists()]
    if any(place.is_relative_to(folder) and place != folder / "scores" for folder in outputs):
        raise OutputError(
            "scores: inside an output folder, where a run may delete it",
            where=str(scores),
            hint="leave 'scores' out, or choose a folder outside of every output folder",
        )
    if not scores.exists() and not is_writable(scores):
        what = "scores: no permission to write the folder, or its file system is read-only"
        raise MachineError(what, where=str(scores), hint="choose another folder")


def _refuse_long(corpus: Corpus, tokenizer: Any, max_length: int, reader: str, scratch: Path) -> None:
    tokens = tokenize(tokenizer, corpus, max_length, scratch).untruncated_lengths
    if (tokens > max_length).any():
        longest = int(tokens.argmax())
        raise CorpusError(
            f"{int((tokens > max_length).sum())} text(s) are longer than the {max_length} tokens "
            f"of {reader}; the longest has {int(tokens[longest])}",
            where=f"text {corpus.texts[longest][:40]!r}…",
            hint="split them, or set data.long_texts: truncate",
        )


def log_plan(plan: Plan, progress: Progress) -> None:
    """Print teachers, label union and text counts."""
    corpus, space = plan.corpus, plan.space
    for teacher in plan.teachers:
        progress.log(f"teacher {teacher.name}: {len(teacher.labels)} labels, {teacher.summary}")
    shared = int((space.membership.sum(0) > 1).sum())
    progress.log(f"label space: {len(space)} classes, {shared} known to more than one teacher\n{space.table()}")
    left_out = f" ({corpus.empty} empty and {corpus.duplicate} repeated left out)" if corpus.read > len(corpus) else ""
    progress.log(f"texts: {len(corpus)}{left_out}")
    if plan.labels is not None:
        progress.log(str(plan.labels))
