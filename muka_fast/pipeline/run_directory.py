"""The output folder of a run: started, resumed or refused, and finalized."""

from __future__ import annotations

import contextlib
import fnmatch
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from muka_fast.config.recipe import Recipe
from muka_fast.errors import MachineError, OutputError
from muka_fast.evaluation.run_record import RunRecord
from muka_fast.models.integrity import MARKER, RUN_RECORD, TOKENIZER_FILES, WEIGHT_FILES
from muka_fast.runtime.files import (
    TEMPORARY,
    atomic_write,
    is_writable,
    remove,
    remove_leftovers,
    sync_folder,
    sync_tree,
    temporary_sibling,
)
from muka_fast.runtime.integrity import record_files
from muka_fast.runtime.locks import exclusive, is_lock_file
from muka_fast.runtime.parsing import UnreadableError, read_json, read_yaml
from muka_fast.runtime.progress import Progress
from muka_fast.scoring.store import MANIFEST, differences, is_unrelated_directory
from muka_fast.selection.in_domain import (
    MODEL_FILE,
)

# Keys that change where a run is computed, how it is watched or what is shown of it, but not its student.
_INDIFFERENT = ("output", "device", "scores", "test", "training.report_to", "report", "card")

# All that a run ever writes; --overwrite deletes nothing else.
_OURS = (
    *(
        "recipe.yaml",
        RUN_RECORD,
        "README.md",
        "report.html",
        "seconds.json",
        MODEL_FILE,
        "ownership.npz",  # of schema version 1
        "scores",
        "scores-test",
        "checkpoints",
        "logs",
        ".student",  # of schema version 1
        TEMPORARY,
        MARKER,
    ),
    *("config.json", "generation_config.json", "training_args.bin", "*.jinja", *WEIGHT_FILES, *TOKENIZER_FILES),
)
_SECONDS = TypeAdapter(dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]])


class RunDirectory:
    """``OUT/``: recipe.yaml (resolved), scores/, checkpoints/ during training, then student, card, report and run.json.

    ``report_to: tensorboard`` writes into logs/, which is kept.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.marker = self.path / MARKER
        self.recipe = self.path / "recipe.yaml"
        self.record = self.path / RUN_RECORD
        self.seconds = self.path / "seconds.json"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"

    @contextlib.contextmanager
    def locked(self, *, wait: bool, progress: Progress) -> Iterator[None]:
        """Be the only run that writes here, and remove what dead runs left.

        Arguments and errors: see :func:`muka_fast.runtime.locks.exclusive`.

        Call :meth:`validate` before: it keeps folders of other content from being touched at all.
        """
        with exclusive(self.path, wait=wait, log=progress.log):
            self._remove_leftovers()
            yield

    def clean_finished(self) -> None:
        """Remove what a run left here that was killed after its last write; do nothing if a run is writing here."""
        if self.marker.exists() and self.record.exists() and is_writable(self.path):
            with contextlib.suppress(OutputError), exclusive(self.path):
                self._remove_leftovers()

    def _remove_leftovers(self) -> None:
        remove_leftovers(self.path)
        if self.record.exists():
            remove(self.checkpoints)
            remove(self.seconds)

    @contextlib.contextmanager
    def adding_up(self, seconds: dict[str, float]) -> Iterator[None]:
        """Add the times of the interrupted runs that this one resumes, and keep all if it is interrupted too.

        Args:
            seconds: Time of each stage, in seconds; changed in place.
        """
        for stage, value in self._earlier_seconds().items():
            seconds[stage] = seconds.get(stage, 0.0) + value
        try:
            yield
        except BaseException:
            self.save_seconds(seconds)
            raise

    def save_seconds(self, seconds: dict[str, float]) -> None:
        """Keep the times of an unfinished run, seconds by stage; without them a resumed run would count from zero."""
        if not self.record.exists():
            with contextlib.suppress(OSError):  # the times are worth no failure
                atomic_write(self.seconds, json.dumps(seconds).encode())

    def _earlier_seconds(self) -> dict[str, float]:
        try:
            return _SECONDS.validate_python(read_json(self.seconds))
        except (FileNotFoundError, UnreadableError, ValidationError):
            return {}

    def validate(
        self, recipe: Recipe, *, overwrite: bool = False, hint: str = "--overwrite, or another folder"
    ) -> bool:
        """Return whether the folder holds an unfinished run of this recipe; change nothing.

        Args:
            recipe: The recipe to run.
            overwrite: Whether an earlier run there may be discarded.
            hint: How to fix it where an earlier run may not be discarded.

        Raises:
            OutputError: If the folder holds anything else that may not be overwritten, or an input of the recipe.
            MachineError: If the folder cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError("the output is a file", where=str(self.path), hint="give a folder")
        if not is_writable(self.path):
            what = "no permission to write the output folder, or its file system is read-only"
            raise MachineError(what, where=str(self.path), hint="choose another folder")
        self._require_no_inputs(recipe)
        entries = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        entries = {name for name in entries if name != MARKER and not is_lock_file(name)}
        own = {"scores-test"} if is_unrelated_directory(self.path / "scores") else {"scores", "scores-test"}
        unrelated = {name for name in entries if not fnmatch.fnmatch(name, TEMPORARY)} - own
        if not self.marker.exists() and unrelated:
            raise OutputError(
                "the output folder is not empty and holds no muka-fast run",
                where=str(self.path),
                hint="choose another folder",
            )
        if self.record.exists():
            if overwrite:
                return False
            raise OutputError("the output folder holds a finished run", where=str(self.path), hint=hint)
        if not self.recipe.exists():
            return bool(entries)
        return self._is_same_recipe(recipe, overwrite, hint)

    def _is_same_recipe(self, recipe: Recipe, overwrite: bool, hint: str) -> bool:
        try:
            stored = read_yaml(self.recipe)
        except UnreadableError as error:
            if overwrite:
                return False
            what = f"the recipe of the unfinished run in the output folder is damaged: {error}"
            raise OutputError(what, where=str(self.recipe), hint=hint) from None
        unequal = [
            found
            for found in differences(stored, recipe.model_dump(mode="json"))
            if not found[0].startswith(_INDIFFERENT)
        ]
        if unequal and not overwrite:
            key, former, now = unequal[0]
            former, now = (text if len(text) <= 80 else f"{text[:77]}…" for text in (repr(former), repr(now)))
            raise OutputError(
                f"the output folder holds an unfinished run with another {key or 'recipe'}: {former}, now {now}",
                where=str(self.path),
                hint=hint,
            )
        return not unequal

    def _require_no_inputs(self, recipe: Recipe) -> None:
        sources = [
            one for spec in recipe.teachers for one in (spec.predictions.files if spec.predictions else [spec.source])
        ]
        sources += [spec.base for spec in recipe.teachers if spec.base]
        sources += [
            source for source in (recipe.student.model, recipe.student.config, recipe.student.tokenizer) if source
        ]
        if (encoder := recipe.selection.text_encoder) is not None:
            sources.append(encoder.model)
        for data in (recipe.data, recipe.test, recipe.selection.labelled_texts):
            sources += data.texts if data else []
        for source in sources:
            path = Path(source)
            if path.exists() and path.resolve().is_relative_to(self.path.resolve()):
                raise OutputError(
                    f"the output folder contains an input of the recipe: {source}",
                    where=str(self.path),
                    hint="choose another output folder",
                )

    def start_or_resume(
        self, recipe: Recipe, *, overwrite: bool = False, outdated: bool = False, wait: bool = False
    ) -> bool:
        """Make the folder ready and write the resolved recipe; return whether an unfinished run resumes.

        An unfinished run of the same recipe resumes even with ``overwrite``: its result is the same.

        Args:
            recipe: The recipe to run.
            overwrite: Discard an earlier run.
            outdated: The inputs have changed since an unfinished run read them: it does not resume.
            wait: Wait for another process that fills a score store which is to be discarded.

        Raises:
            OutputError: As :meth:`validate`, or another process fills a score store which is to be discarded.
        """
        resumed = self.validate(recipe, overwrite=overwrite) and not outdated
        self.path.mkdir(parents=True, exist_ok=True)
        self.marker.touch()
        if not resumed:
            remove(self.seconds)
        if overwrite and not resumed:
            self._discard(wait)
        atomic_write(self.recipe, recipe.dump().encode())
        return resumed

    def _discard(self, wait: bool) -> None:
        with contextlib.ExitStack() as stack:
            for name in ("scores", "scores-test"):
                folder = self.path / name
                for manifest in () if folder.is_symlink() else folder.glob(f"**/{MANIFEST}"):
                    stack.enter_context(exclusive(manifest.parent, wait=wait))
            # The record first and the recipe last: after a kill in between, it is still another unfinished run.
            order = {self.record.name: -1, self.recipe.name: 1}
            for entry in sorted(self.path.iterdir(), key=lambda entry: order.get(entry.name, 0)):
                if entry.name != MARKER and any(fnmatch.fnmatch(entry.name, pattern) for pattern in _OURS):
                    remove(entry)
            sync_folder(self.path)

    def save_student(self, model: Any, tokenizer: Any) -> list[str]:
        """Save the student's weights, configuration and tokenizer through a staging folder; return the files' names."""
        staging = temporary_sibling(self.path / "student")
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        sync_tree(staging)
        names = sorted(file.name for file in staging.iterdir())
        for name in names:
            (staging / name).replace(self.path / name)
        staging.rmdir()
        sync_folder(self.path)
        return names

    def finalize(self, card: str, page: str, record: RunRecord, files: list[str]) -> RunRecord:
        """Write model card and report and, last, ``run.json``, which marks the run as finished.

        Args:
            card: The model card.
            page: The report.
            record: The record of the run.
            files: Names of the files whose size and hash the record is to hold, besides the recipe.

        Returns:
            The record as written.
        """
        record = record.model_copy(update={"files": record_files(self.path, [*files, self.recipe.name])})
        atomic_write(self.path / "README.md", card.encode())
        atomic_write(self.path / "report.html", page.encode())
        atomic_write(self.record, record.dump().encode())
        remove(self.checkpoints)
        remove(self.seconds)
        return record
