"""The files of a student that go to a model hub: listed by name, without the paths of the machine that made them.

A file is uploaded only if it is on the list and the run's record holds its hash. ``run.json`` and ``report.html`` quote
texts of the pool, ``selection.npz`` and the score stores are computed from all of them: they stay behind.
"""

from __future__ import annotations

import fnmatch
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from muka_fast.config.portable import PortableRecipe, last_part, portable_recipe
from muka_fast.errors import ModelError
from muka_fast.evaluation.run_record import read_run_record
from muka_fast.export.export_record import RECORD, ExportRecord, read_export_record
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.integrity import TOKENIZER_FILES, WEIGHT_FILES, require_intact
from muka_fast.pipeline.run_artifacts import is_ensemble
from muka_fast.pipeline.run_directory import RunDirectory
from muka_fast.runtime.parsing import UnreadableError, read_json, read_yaml
from muka_fast.runtime.printable import markdown_text, printable

STUDENT_FILES = (*WEIGHT_FILES, *TOKENIZER_FILES, "config.json", "generation_config.json", "*.jinja")
"""Patterns of the files that a transformers model is read from."""
EXPORT_FOLDER = "onnx"
"""Folder of the repository that ONNX Runtime backends, such as that of text-embeddings-inference, read graphs from."""
_NAME_KEYS = ("_name_or_path", "name_or_path", "tokenizer_file")
"""Keys of model configurations that may hold a path."""


@dataclass(frozen=True)
class HubFile:
    """A file of a repository.

    Attributes:
        name: Its path in the repository.
        content: What it holds: bytes, or the file to read them from.
    """

    name: str
    content: bytes | Path

    @property
    def bytes(self) -> int:
        """Size, in bytes."""
        return self.content.stat().st_size if isinstance(self.content, Path) else len(self.content)


def collect_files(folder: Path, repo_id: str, export: Path | None = None) -> list[HubFile]:
    """Return what a student's repository holds, sorted by name.

    Weights and tokenizer are the files of the folder. In recipe, model card and configuration each path of this machine
    is replaced by its last part, and the card names the repository.

    Args:
        folder: Output folder of ``amalgamate``.
        repo_id: The repository, ``owner/name``.
        export: Folder that ``muka-fast export`` wrote of this student; its graphs go to ``onnx/``.

    Raises:
        ModelError: If the folder holds no finished student, a file is damaged, or the export is of another model.
    """
    run = RunDirectory(folder)
    if not run.record.is_file():
        hint = "give a finished output folder of amalgamate"
        raise ModelError("no finished run in the folder", where=str(folder), hint=hint)
    record = read_run_record(run.record)
    if is_ensemble(folder):
        raise ModelError(
            "an ensemble is its teachers, not one model",
            where=str(folder),
            hint="train a student with method 'pool', and push the student",
        )
    names = [name for name in record.files if any(fnmatch.fnmatch(name, pattern) for pattern in STUDENT_FILES)]
    require_intact(folder, str(folder), only=(*names, run.recipe.name))
    found = [HubFile(name, _configuration(folder / name)) for name in names]
    recipe, paths = _portable_recipe(run.recipe)
    found.append(HubFile(run.recipe.name, recipe.encode()))
    card = _card(run, paths).replace("path/to/this/folder", repo_id)
    found.append(HubFile("README.md", card.encode()))
    if export is not None:
        found += _export_files(folder, export)
    return sorted(found, key=lambda file: file.name)


def files_left_behind(folder: Path, pushed: list[HubFile]) -> list[str]:
    """Return the entries of an output folder that are not among the files of a repository; folders end with ``/``."""
    names = {file.name for file in pushed}
    entries = sorted(entry for entry in folder.iterdir() if entry.name not in names)
    return [f"{entry.name}/" if entry.is_dir() else entry.name for entry in entries]


def _portable_recipe(path: Path) -> PortableRecipe:
    try:
        return portable_recipe(read_yaml(path))
    except (UnreadableError, FileNotFoundError) as error:
        raise ModelError(f"the recipe cannot be read: {error}", where=str(path), hint="amalgamate again") from None


def _card(run: RunDirectory, paths: list[str]) -> str:
    """Return the model card, which its owner may have edited, without paths of this machine."""
    path = run.path / "README.md"
    if not path.is_file():
        raise ModelError("the model card is missing", where=str(path), hint="restore README.md")
    card = path.read_text(encoding="utf-8")
    for one in paths:
        for form in (str, printable, markdown_text):
            card = card.replace(form(one), form(last_part(one)))
    return card


def _configuration(path: Path) -> bytes | Path:
    """Return a JSON configuration whose name is a path of this machine without that path; other files as they are."""
    if path.name not in ("config.json", "tokenizer_config.json"):
        return path
    try:
        tree = read_json(path)
    except UnreadableError as error:
        raise ModelError(f"the configuration cannot be read: {error}", where=str(path), hint="restore it") from None
    portable = _portable_names(tree)
    if portable == tree:
        return path
    return f"{json.dumps(portable, indent=2, ensure_ascii=False)}\n".encode()


def _portable_names(tree: Any, is_name: bool = False) -> Any:
    """Return a configuration, its sub-configurations included, with the last part of each path that is a name."""
    if isinstance(tree, dict):
        return {key: _portable_names(value, key in _NAME_KEYS) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_portable_names(value) for value in tree]
    return last_part(tree) if is_name and isinstance(tree, str) else tree


def _export_files(folder: Path, export: Path) -> list[HubFile]:
    """Return graphs, tokenizer and record of a student's export."""
    record: ExportRecord = read_export_record(export)
    if record.weights != Checkpoint(folder, None, str(folder)).fingerprint(WEIGHT_FILES):
        raise ModelError("the export is of another model", where=str(export), hint="export this student again")
    graphs = [graph.file for graph in record.graphs.values()]
    wanted = {
        name: one
        for name, one in record.files.items()
        if name == "tokenizer.json" or any(name == graph or name.startswith(f"{graph}.") for graph in graphs)
    }
    for graph in record.graphs.values():
        record.require_intact(export, graph)
    portable = replace(record, model=last_part(record.model), files=wanted)
    content = json.dumps(portable.tree(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    found = [HubFile(f"{EXPORT_FOLDER}/{name}", export / name) for name in wanted]
    return [*found, HubFile(f"{EXPORT_FOLDER}/{RECORD}", content.encode())]
