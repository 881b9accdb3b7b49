"""Exports that trace a model once: tracing is most of what the export of a tiny model costs."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from muka_fast.export.graph import Graph, trace
from muka_fast.scoring import onnx_teacher

_SLOW = (pytest.mark.slow,)
FAMILIES = tuple(
    # A family's tests run in one worker, which then has its graph.
    pytest.param(family, marks=[pytest.mark.xdist_group(f"export-{family}"), *_SLOW * (family != "bert")])
    for family in ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "mpnet", "modernbert")
)
_GRAPHS: dict[str, Graph] = {}


def digest(model: Any, *settings: object) -> str:
    """Hash a model's configuration and weights, and what else its graph depends on."""
    found = hashlib.sha256(repr((type(model), model.config.to_json_string(), *settings)).encode())
    for name, tensor in model.state_dict().items():
        found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def trace_once(model: Any, inputs: Sequence[str], where: str, **settings: Any) -> Graph:
    """Trace a model, or return the graph of equal configuration and weights, as ``muka_fast.export.graph.trace``."""
    key = digest(model, *inputs, *sorted(settings.items()))
    if key not in _GRAPHS:
        _GRAPHS[key] = trace(model, inputs, where, **settings)
    return _GRAPHS[key]


def write_once(folder: Path) -> Callable[..., None]:
    """Return ``muka_fast.scoring.onnx_teacher._write``, which copies a graph of a folder if an equal one is there."""
    write = onnx_teacher._write

    def written(model: Any, depth: int | None, path: Path, inputs: tuple[str, ...], where: str) -> None:
        kept = folder / f"{digest(model, depth, *inputs)}.onnx"
        if not kept.exists():
            write(model, depth, path, inputs, where)
            staged = kept.with_suffix(f".{os.getpid()}.tmp")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, staged)
            staged.replace(kept)
        else:
            shutil.copy(kept, path)

    return written
