"""Teachers that are ONNX graphs without the weights that they were exported from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.deterministic_teacher import TokenizedTeacher
from muka_fast.models.integrity import TOKENIZER_FILES

GRAPH = "model.onnx"


@dataclass(frozen=True)
class GraphTeacher(TokenizedTeacher):
    """An ONNX graph with tokenizer and ``config.json``.

    Attributes:
        graph: The ONNX file.
    """

    KIND: ClassVar[Literal["onnx"]] = "onnx"
    NOUN: ClassVar[str] = "an ONNX graph"

    graph: Path

    @property
    def summary(self) -> str:
        """What it is, for messages."""
        return f"ONNX graph {self.graph.name}, {self.tokens} tokens"

    @property
    def gives_logits(self) -> bool:
        """Whether its outputs are logits: always."""
        return True


def find_graph(checkpoint: Checkpoint) -> Path | None:
    """Return the graph of a folder that has no weights beside it; None if there is none."""
    if checkpoint.files(("*.safetensors",)):
        return None
    places = (checkpoint.folder / GRAPH, checkpoint.folder / "onnx" / GRAPH)
    return next((path for path in places if path.is_file()), None)


def graph_fingerprint(checkpoint: Checkpoint, graph: Path) -> str:
    """Return a hash of graph, configuration, tokenizer, and the files beside the graph: each may hold weights."""
    weights = Checkpoint(graph.parent, None, checkpoint.where).fingerprint(("*",))
    rest = checkpoint.fingerprint(("config.json", *TOKENIZER_FILES))
    return hashlib.sha256((weights + rest).encode()).hexdigest()[:32]
