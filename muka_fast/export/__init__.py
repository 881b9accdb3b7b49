"""ONNX: a classifier exported, compared with its model, and served without torch.

* ``export_directory``: the folder of an export, written apart and moved into place
* ``export_record``: the schema of ``export.json``
* ``exporter``: the export: load, trace, check, write
* ``graph``: a PyTorch classifier as a fused ONNX graph
* ``onnx_classifier``: an exported classifier; needs onnxruntime, tokenizers and numpy only
* ``parity``: a graph's logits compared with its model's
* ``quantization``: fp16 and int8 graphs
* ``sessions``: ONNX Runtime sessions and their execution providers

>>> from muka_fast.export import OnnxClassifier
>>> OnnxClassifier("folder").classify(["can I get a window seat"])  # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from muka_fast.export.exporter import Exported, export
    from muka_fast.export.onnx_classifier import OnnxClassifier

# Loaded on first use: OnnxClassifier runs where there is no torch.
_HOMES = {"OnnxClassifier": "onnx_classifier", "Exported": "exporter", "export": "exporter"}

__all__ = ["Exported", "OnnxClassifier", "export"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"muka_fast.export.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
