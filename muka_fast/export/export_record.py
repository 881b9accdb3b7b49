"""The record of an export, ``export.json``. Needs numpy alone, as its reader runs where there is no torch."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from muka_fast.errors import ModelError
from muka_fast.inference.predictions import Calibration
from muka_fast.runtime.files import atomic_write

RECORD = "export.json"
SCHEMA_VERSION = 2


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
        truncation_side: ``left`` or ``right``.
        versions: Versions of Python and the libraries that exported it.
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
    truncation_side: str
    versions: dict[str, str]

    def tree(self) -> dict[str, Any]:
        """Return the record as the tree of ``export.json``."""
        values = {"labels": list(self.labels), "calibration": self.calibration._asdict()}
        return {"schema_version": SCHEMA_VERSION, **asdict(self), **values}

    def write(self, folder: Path) -> None:
        """Write ``export.json`` into a folder."""
        content = json.dumps(self.tree(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        atomic_write(folder / RECORD, content.encode())


def is_exported(folder: str | Path) -> bool:
    """Return whether ``muka-fast export`` wrote a folder."""
    return (Path(folder) / RECORD).is_file()


def read_export_record(folder: Path) -> ExportRecord:
    """Read ``export.json``.

    Raises:
        ModelError: If the file is missing, damaged, incomplete or of another version, or a graph it lists is missing.
    """
    path = folder / RECORD
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
        version = tree["schema_version"]
        record = _parse(tree) if version == SCHEMA_VERSION else None
    except FileNotFoundError:
        raise ModelError(
            f"no {RECORD} in the folder", where=str(folder), hint="give a folder that 'muka-fast export' wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            f"cannot read the export's record: {error}", where=str(path), hint="export the model again"
        ) from None
    if record is None:
        raise ModelError(
            f"the export has schema version {version}; this version of muka-fast reads {SCHEMA_VERSION}",
            where=str(path),
            hint="export the model again",
        )
    missing = [graph.file for graph in record.graphs.values() if not (folder / graph.file).is_file()]
    if missing:
        raise ModelError(f"the graph {missing[0]} is missing", where=str(folder), hint="export the model again")
    return record


def _parse(tree: dict[str, Any]) -> ExportRecord:
    names = [field.name for field in fields(ExportRecord)]
    missing = [name for name in names if name not in tree]
    if missing or not tree["graphs"]:
        raise ValueError(f"it is incomplete: no {', '.join(missing) or 'graphs'}")
    graphs = {
        precision: ExportedGraph(**graph | {"parity": Parity(**graph["parity"])})
        for precision, graph in tree["graphs"].items()
    }
    values = {"graphs": graphs, "labels": tuple(tree["labels"]), "calibration": Calibration.read(tree["calibration"])}
    return ExportRecord(**{name: tree[name] for name in names} | values)
