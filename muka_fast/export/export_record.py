"""The record of an export, ``export.json``. Needs numpy alone, as its reader runs where there is no torch."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from muka_fast.errors import ModelError
from muka_fast.inference.predictions import Calibration
from muka_fast.runtime.files import atomic_write, sync_folder
from muka_fast.runtime.integrity import FileRecord, find_damage, parse_file_records
from muka_fast.runtime.parsing import UnreadableError, read_json
from muka_fast.runtime.typed import from_tree

RECORD = "export.json"
COMMITTED = ".export.new"
"""Name of a finished export inside its folder until its files are in place."""
SCHEMA_VERSION = 3
INPUTS = ("input_ids", "attention_mask", "token_type_ids")
SIDES = ("left", "right")


@dataclass(frozen=True)
class Parity:
    """Difference between the logits of a graph and of its model.

    Attributes:
        texts: Texts compared, besides the batches of unusual shapes.
        largest: Largest absolute difference of a logit, over texts and unusual shapes.
        mean: Mean absolute difference of a logit, over the texts.
        agreement: Share of the texts with the same most likely class, or of texts and unusual shapes together,
            whichever is less.
        accuracy: Accuracy of the graph on labelled texts; None without them.
        model_accuracy: Accuracy of the model on the same texts.
    """

    texts: int
    largest: float
    mean: float
    agreement: float
    accuracy: float | None = None
    model_accuracy: float | None = None


@dataclass(frozen=True)
class ExportedGraph:
    """One graph of an export.

    Attributes:
        file: Its name in the folder.
        bytes: Its size, with the file of its weights if there is one.
        sha256: Hash over the SHA-256 of the file, and of the file of its weights if there is one.
        scheme: Name of the quantisation scheme; empty for fp32 and fp16.
        parity: Its difference from the model.
    """

    file: str
    bytes: int
    sha256: str
    scheme: str
    parity: Parity


@dataclass(frozen=True)
class ExportRecord:
    """The content of ``export.json``.

    Attributes:
        model: Folder or hub id of the model.
        revision: Hub revision; None for a folder.
        weights: Hash of the model's weights.
        opset: Version of the ONNX operators.
        fuse: Provider that operators are fused for: ``none``, ``cpu`` or ``cuda``.
        fused: Number of operators by fusion.
        graphs: Graphs by precision; the first one is loaded by default.
        labels: Class names in column order.
        max_length: Longest text, in tokens.
        calibration: Temperature and threshold of the model.
        inputs: Padding value of each input of the graphs.
        padding_side: ``left`` or ``right``.
        mixed_lengths: Whether texts of different lengths may share a batch.
        counted_token: Token that all texts of a batch hold equally often; None if there is none.
        truncation_side: ``left`` or ``right``.
        versions: Versions of Python and the libraries that exported it.
        files: Size and hash of every other file of the export, by name.
    """

    model: str
    revision: str | None
    weights: str
    opset: int
    fuse: str
    fused: dict[str, int]
    graphs: dict[str, ExportedGraph]
    labels: tuple[str, ...]
    max_length: int
    calibration: Calibration
    inputs: dict[str, int]
    padding_side: str
    mixed_lengths: bool
    counted_token: int | None
    truncation_side: str
    versions: dict[str, str]
    files: dict[str, FileRecord]

    def tree(self) -> dict[str, Any]:
        """Return the record as the tree of ``export.json``."""
        values = {"labels": list(self.labels), "calibration": self.calibration._asdict()}
        return {"schema_version": SCHEMA_VERSION, **asdict(self), **values}

    def write(self, folder: Path) -> None:
        """Write ``export.json`` into a folder."""
        content = json.dumps(self.tree(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        atomic_write(folder / RECORD, content.encode())

    def require_intact(self, folder: Path, graph: ExportedGraph) -> None:
        """Compare size and hash of a graph, of its weights beside it, and of the tokenizer with the record.

        Raises:
            ModelError: With the damaged file.
        """
        wanted = {
            name: one
            for name, one in self.files.items()
            if name == "tokenizer.json" or name == graph.file or name.startswith(f"{graph.file}.")
        }
        damage = find_damage(folder, wanted)
        if damage:
            raise ModelError(damage, where=str(folder), hint="restore the file, or export the model again")


def is_exported(folder: str | Path) -> bool:
    """Return whether ``muka-fast export`` wrote a folder."""
    return any((Path(folder) / place / RECORD).is_file() for place in ("", COMMITTED))


def finish_commit(folder: Path) -> None:
    """Move a committed export into place, if a kill left it half moved; processes may do so at the same time.

    Files of the former export that the new one has not are removed; files of others stay.
    """
    committed = folder / COMMITTED
    if not committed.is_dir():
        return
    if (committed / RECORD).is_file():
        recorded = _recorded_files(committed / RECORD)
        new = {*recorded, RECORD}
        with contextlib.suppress(FileNotFoundError):  # another process has finished
            new |= {file.name for file in committed.iterdir()}
        for name in sorted(new - {RECORD}):
            with contextlib.suppress(FileNotFoundError):  # moved already
                (committed / name).replace(folder / name)
        # If another process has moved the record meanwhile, the names of the new files are unknown here.
        for name in _recorded_files(folder / RECORD) - new if recorded else ():
            (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
        with contextlib.suppress(FileNotFoundError):
            (committed / RECORD).replace(folder / RECORD)
    with contextlib.suppress(FileNotFoundError):
        committed.rmdir()
    sync_folder(folder)


def _recorded_files(path: Path) -> set[str]:
    """Return the names of the files that an export's record lists."""
    try:
        return set(parse_file_records(read_json(path)))
    except (FileNotFoundError, UnreadableError, ValueError):
        return set()


def read_export_record(folder: Path) -> ExportRecord:
    """Read ``export.json``.

    Raises:
        ModelError: If the file is missing, damaged, incomplete or of another version, or a graph it lists is missing.
    """
    path = folder / RECORD
    try:
        finish_commit(folder)
    except OSError as error:
        hint = "make the folder writable and try again"
        raise ModelError(f"an export was interrupted here: {error.strerror}", where=str(folder), hint=hint) from None
    try:
        tree = read_json(path)
        version = tree.pop("schema_version") if isinstance(tree, dict) and "schema_version" in tree else None
        record = _parse(tree, str(path)) if version == SCHEMA_VERSION else None
    except FileNotFoundError:
        raise ModelError(
            f"no {RECORD} in the folder", where=str(folder), hint="give a folder that 'muka-fast export' wrote"
        ) from None
    except UnreadableError as error:
        raise ModelError(
            f"cannot read the export's record: {error}", where=str(path), hint="export the model again"
        ) from None
    if record is None:
        raise ModelError(
            f"the export has schema version {version!r}; this version of muka-fast reads {SCHEMA_VERSION}",
            where=str(path),
            hint="export the model again",
        )
    missing = [graph.file for graph in record.graphs.values() if not (folder / graph.file).is_file()]
    if missing:
        raise ModelError(f"the graph {missing[0]} is missing", where=str(folder), hint="export the model again")
    return record


def _parse(tree: dict[str, Any], where: str) -> ExportRecord:
    if "calibration" not in tree:
        raise UnreadableError("calibration is missing")
    record = from_tree(ExportRecord, tree | {"calibration": Calibration.read(tree["calibration"], where)})
    names = [*(graph.file for graph in record.graphs.values()), *record.files]
    problems = {
        "graphs: there is none": not record.graphs,
        "labels: there is none": not record.labels,
        "inputs: input_ids is missing": "input_ids" not in record.inputs,
        "inputs: not those of a text classifier": not set(record.inputs) <= set(INPUTS),
        "max_length: not positive": record.max_length < 1,
        "padding_side: not left or right": record.padding_side not in SIDES,
        "truncation_side: not left or right": record.truncation_side not in SIDES,
        "a file name leads out of the folder": any(name != Path(name).name for name in names),
        "files: a graph is not among them": not set(names) <= set(record.files),
    }
    problem = next((text for text, holds in problems.items() if holds), None)
    if problem:
        raise UnreadableError(problem)
    return record
