"""The output folder of a run: started, resumed or refused, and finalized."""

from __future__ import annotations

import fnmatch
import shutil
from pathlib import Path
from typing import Any

import yaml

from muka_fast.config.recipe import Recipe
from muka_fast.errors import OutputError
from muka_fast.runtime.files import atomic_write
from muka_fast.scoring.store import differences, is_unrelated_directory
from muka_fast.selection.in_domain import (
    MODEL_FILE,
)

# Keys that change where a run is computed or how it is watched, but not its student.
_INDIFFERENT = ("output", "device", "scores", "test", "training.report_to")

MARKER = ".muka-fast"
# All that a run ever writes; --overwrite deletes nothing else.
_OURS = (
    *(
        "recipe.yaml",
        "run.json",
        "README.md",
        "report.html",
        MODEL_FILE,
        "ownership.npz",  # of schema version 1
        "scores",
        "scores-test",
        "checkpoints",
        "logs",
        ".student",
        ".*.tmp",
        MARKER,
    ),
    *("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json", "training_args.bin"),
    *("tokenizer*", "vocab*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "*.jinja"),
)


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
        self.record = self.path / "run.json"
        self.checkpoints = self.path / "checkpoints"
        self.logs = self.path / "logs"

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
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError("the output is a file", where=str(self.path), hint="give a folder")
        self._require_no_inputs(recipe)
        entries = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        own = (
            {MARKER, "scores-test"}
            if is_unrelated_directory(self.path / "scores")
            else {MARKER, "scores", "scores-test"}
        )
        unrelated = {name for name in entries if not fnmatch.fnmatch(name, ".*.tmp")} - own
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
        stored = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
        unequal = [
            found
            for found in differences(stored, recipe.model_dump(mode="json"))
            if not found[0].startswith(_INDIFFERENT)
        ]
        if unequal and not overwrite:
            key, former, now = unequal[0]
            raise OutputError(
                f"the output folder holds an unfinished run with another {key}: {former!r}, now {now!r}",
                where=str(self.path),
                hint=hint,
            )
        return not unequal

    def _require_no_inputs(self, recipe: Recipe) -> None:
        sources = [teacher.model for teacher in recipe.teachers]
        sources += [
            source for source in (recipe.student.model, recipe.student.config, recipe.student.tokenizer) if source
        ]
        sources += [*recipe.data.texts, *(recipe.test.texts if recipe.test else [])]
        for source in sources:
            path = Path(source)
            if path.exists() and path.resolve().is_relative_to(self.path.resolve()):
                raise OutputError(
                    f"the output folder contains an input of the recipe: {source}",
                    where=str(self.path),
                    hint="choose another output folder",
                )

    def start_or_resume(self, recipe: Recipe, *, overwrite: bool = False, outdated: bool = False) -> bool:
        """Make the folder ready and write the resolved recipe; return whether an unfinished run resumes.

        An unfinished run of the same recipe resumes even with ``overwrite``: its result is the same.

        Args:
            recipe: The recipe to run.
            overwrite: Discard an earlier run.
            outdated: The inputs have changed since an unfinished run read them: it does not resume.

        Raises:
            OutputError: As :meth:`validate`.
        """
        resumed = self.validate(recipe, overwrite=overwrite) and not outdated
        self.path.mkdir(parents=True, exist_ok=True)
        self.marker.touch()
        if overwrite and not resumed:
            # The record first and the recipe last: after a kill in between, it is still another unfinished run.
            order = {self.record.name: -1, self.recipe.name: 1}
            for entry in sorted(self.path.iterdir(), key=lambda entry: order.get(entry.name, 0)):
                if entry.name != MARKER and any(fnmatch.fnmatch(entry.name, pattern) for pattern in _OURS):
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        atomic_write(self.recipe, recipe.dump().encode())
        return resumed

    def save_student(self, model: Any, tokenizer: Any) -> None:
        """Save the student's weights, configuration and tokenizer through a staging folder."""
        staging = self.path / ".student"
        shutil.rmtree(staging, ignore_errors=True)
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        for file in staging.iterdir():
            file.replace(self.path / file.name)
        staging.rmdir()

    def finalize(self, card: str, page: str, record: str) -> None:
        """Write model card and report and, last, ``run.json``, which marks the run as finished."""
        atomic_write(self.path / "README.md", card.encode())
        atomic_write(self.path / "report.html", page.encode())
        atomic_write(self.record, record.encode())
        shutil.rmtree(self.checkpoints, ignore_errors=True)
