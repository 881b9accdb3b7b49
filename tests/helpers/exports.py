"""Exports that trace a model once: tracing is most of what the export of a tiny model costs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import pytest

from muka_fast.export.graph import Graph, trace

FAMILIES = tuple(
    # A family's tests run in one worker, which then has its graph.
    pytest.param(family, marks=pytest.mark.xdist_group(f"export-{family}"))
    for family in ("bert", "roberta", "xlm-roberta", "distilbert", "electra", "deberta-v2", "mpnet", "modernbert")
)
_GRAPHS: dict[tuple[object, ...], Graph] = {}


def trace_once(model: Any, inputs: Sequence[str], where: str, **settings: Any) -> Graph:
    """Trace a model, or return the graph of equal configuration and weights, as ``muka_fast.export.graph.trace``."""
    weights = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        weights.update(name.encode() + tensor.numpy().tobytes())
    key = (type(model), model.config.to_json_string(), weights.digest(), *inputs, *sorted(settings.items()))
    if key not in _GRAPHS:
        _GRAPHS[key] = trace(model, inputs, where, **settings)
    return _GRAPHS[key]
