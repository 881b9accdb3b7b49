"""Exports that trace a model once: tracing is most of what the export of a tiny model costs.

Graphs are kept from one test run to the next. Their folder is named by everything that makes them besides the model:
the versions of the libraries and the source of the modules that trace.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from muka_fast.export import graph as graphs
from muka_fast.export.graph import Graph, trace
from muka_fast.runtime.environment import versions
from muka_fast.scoring import onnx_teacher
from muka_fast.uncertainty import features
from tests.helpers.models import make_classifier, one_layer

_SLOW = (pytest.mark.slow,)
FAMILIES = tuple(
    # A family's tests run in one worker, which then has its graph.
    pytest.param(family, marks=[pytest.mark.xdist_group(f"export-{family}"), *_SLOW * (family != "bert")])
    for family in ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "mpnet", "modernbert")
)


def make_family(folder: Path, family: str) -> Path:
    """Make a family's classifier; tests of one model share its graph."""
    return make_classifier(folder, family, **({} if family == "bert" else one_layer(family)))


def graph_key() -> str:
    """Hash what graphs depend on besides the model and the arguments."""
    libraries = versions(("torch", "transformers", "onnx", "onnxscript", "onnx-ir"))
    sources = [inspect.getsource(module) for module in (graphs, onnx_teacher, features)]
    return hashlib.sha256(json.dumps([libraries, sources]).encode()).hexdigest()[:32]


def _digest(model: Any, *settings: object) -> str:
    """Hash a model's configuration and weights, and what else its graph depends on."""
    found = hashlib.sha256(repr((type(model), model.config.to_json_string(), *settings)).encode())
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def _has_known_code(model: Any) -> bool:
    """Return whether a model's code is that of transformers, which the versions name."""
    forward = inspect.unwrap(type(model).forward)
    return all(name.startswith("transformers.models.") for name in (type(model).__module__, forward.__module__))


def _keep(path: Path, save: Callable[[Path], object]) -> None:
    """Write a file that other workers may look for, all of it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(f".{os.getpid()}.tmp")
    save(staged)
    staged.replace(path)


def trace_once(folder: Path) -> Callable[..., Graph]:
    """Return ``muka_fast.export.graph.trace``, which reads an equal model's graph from a folder if it is there."""

    def traced(model: Any, inputs: Sequence[str], where: str, **settings: Any) -> Graph:
        if not _has_known_code(model):
            return trace(model, inputs, where, **settings)
        import onnx_ir

        kept = folder / f"{_digest(model, *inputs, *sorted(settings.items()))}.onnx"
        counts = kept.with_suffix(".json")  # written last
        if counts.exists():
            return Graph(torch.onnx.ONNXProgram(onnx_ir.load(kept), None), json.loads(counts.read_text()))
        graph = trace(model, inputs, where, **settings)
        _keep(kept, graph.save)
        _keep(counts, lambda path: path.write_text(json.dumps(graph.fused)))
        return graph

    return traced


def write_once(folder: Path) -> Callable[..., None]:
    """Return ``muka_fast.scoring.onnx_teacher._write``, which copies a graph of a folder if an equal one is there."""
    write = onnx_teacher._write

    def written(model: Any, depth: int | None, path: Path, inputs: tuple[str, ...], where: str) -> None:
        if not _has_known_code(model):
            write(model, depth, path, inputs, where)
            return
        kept = folder / f"{_digest(model, 'teacher', depth, *inputs)}.onnx"
        if not kept.exists():
            _keep(kept, lambda staged: write(model, depth, staged, inputs, where))
        shutil.copy(kept, path)

    return written
