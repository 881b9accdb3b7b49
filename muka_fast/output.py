"""The output folder of a run: begun, continued or refused, and marked as finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import yaml

from muka_fast.errors import OutputError
from muka_fast.recipe import Recipe
from muka_fast.scores import differences, write_atomically

# Keys that say where or how fast a run is computed, not what it gives.
_INDIFFERENT = ("output", "device", "scores")


class RunFolder:
    """``OUT/``: recipe.yaml (resolved), scores/, checkpoints/ while training, then the student, run.json, README.md.

    Args:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.recipe = self.path / "recipe.yaml"
        self.record = self.path / "run.json"
        self.checkpoints = self.path / "checkpoints"

    def require_usable(self, recipe: Recipe, *, overwrite: bool = False) -> bool:
        """Return whether the folder holds an unfinished run of this recipe; change nothing.

        Raises:
            OutputError: If it holds anything else and may not be overwritten.
        """
        if self.path.exists() and not self.path.is_dir():
            raise OutputError("the output is a file", where=str(self.path), hint="give a folder")
        entries = {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()
        if not entries:
            return False
        ours = self.recipe.exists() or entries == {"scores"}
        if overwrite and ours:
            return False
        if not ours:
            raise OutputError(
                "the output folder is not empty and holds no muka-fast run",
                where=str(self.path),
                hint="choose another folder",
            )
        if self.record.exists():
            raise OutputError(
                "the output folder holds a finished run", where=str(self.path), hint="--overwrite, or another folder"
            )
        if self.recipe.exists():
            stored = yaml.safe_load(self.recipe.read_text(encoding="utf-8"))
            unequal = [
                found
                for found in differences(stored, recipe.model_dump(mode="json"))
                if found[0].split(".")[0] not in _INDIFFERENT
            ]
            if unequal:
                key, theirs, now = unequal[0]
                raise OutputError(
                    f"the output folder holds an unfinished run with another {key}: {theirs!r}, now {now!r}",
                    where=str(self.path),
                    hint="--overwrite, or another folder",
                )
        return True

    def begin(self, recipe: Recipe, *, overwrite: bool = False) -> bool:
        """Make the folder ready and write the resolved recipe; return whether an unfinished run goes on.

        Raises:
            OutputError: As :meth:`require_usable`.
        """
        resumed = self.require_usable(recipe, overwrite=overwrite)
        if overwrite and not resumed and self.path.exists():
            for entry in self.path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.path.mkdir(parents=True, exist_ok=True)
        write_atomically(self.recipe, recipe.dump().encode())
        return resumed

    def finish(self, model: Any, tokenizer: Any, card: str, record: dict[str, Any]) -> None:
        """Save the student, its card and, last, the record that marks the run as finished."""
        staging = self.path / ".student"
        shutil.rmtree(staging, ignore_errors=True)
        model.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        for file in staging.iterdir():
            file.replace(self.path / file.name)
        staging.rmdir()
        write_atomically(self.path / "README.md", card.encode())
        write_atomically(self.record, (json.dumps(record, indent=2, ensure_ascii=False) + "\n").encode())
        shutil.rmtree(self.checkpoints, ignore_errors=True)
