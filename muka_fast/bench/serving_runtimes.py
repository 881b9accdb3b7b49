"""Runtimes that can serve a student: PyTorch, the Hugging Face pipeline, ONNX forms and Optimum, from text to label.

Each function imports its own libraries: a process that serves with ONNX Runtime must not load torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from muka_fast.bench.tables import PIPELINE
from muka_fast.errors import MukaError

if TYPE_CHECKING:
    from muka_fast.data.corpus import Corpus

Serve = Callable[[Sequence[str]], list[str]]
"""Maps texts to class names."""
SetUp = Callable[[], Serve]
BATCH = 32
"""Texts per batch of the runtimes that do not choose it themselves."""


@dataclass(frozen=True)
class Runtime:
    """A runtime that can be set up.

    Attributes:
        bytes: Size of the weights or the graph that it loads.
        set_up: Loads the student; picklable.
    """

    bytes: int
    set_up: SetUp


def pipeline(folder: Path) -> Serve:
    """Load the Hugging Face pipeline."""
    from transformers import AutoTokenizer
    from transformers import pipeline as build

    tokenizer = AutoTokenizer.from_pretrained(folder)
    classify = build("text-classification", model=str(folder), tokenizer=tokenizer, device=-1)
    return lambda texts: [found["label"] for found in classify(list(texts), batch_size=BATCH, truncation=True)]


def pytorch(folder: Path, *, compiled: bool = False) -> Serve:
    """Load tokenizer and model; batches are padded to their longest text and run in inference mode."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    names, forward = model.config.id2label, torch.compile(model, dynamic=True) if compiled else model
    return lambda texts: _classify_batches(texts, tokenizer, lambda batch: forward(**batch).logits, names)


def optimum(exported: Path, *, in_pipeline: bool = False) -> Serve:
    """Load the graph into Optimum's ORTModel, used directly or in its pipeline."""
    library = importlib.import_module("optimum.onnxruntime")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(exported)
    model = library.ORTModelForSequenceClassification.from_pretrained(exported)
    if in_pipeline:
        classify = library.pipeline("text-classification", model=model, tokenizer=tokenizer)
        return lambda texts: [found["label"] for found in classify(list(texts), batch_size=BATCH, truncation=True)]
    return lambda texts: _classify_batches(texts, tokenizer, lambda batch: model(**batch).logits, model.config.id2label)


def onnx(folder: Path, precision: str) -> Serve:
    """Load the exported classifier."""
    from muka_fast.export import OnnxClassifier

    classifier = OnnxClassifier(folder, precision=precision, device="cpu")
    return lambda texts: [classifier.labels[column] for column in classifier.predict_proba(texts).argmax(1)]


def _classify_batches(
    texts: Sequence[str], tokenizer: Any, logits: Callable[[Any], Any], names: dict[int, str]
) -> list[str]:
    import torch

    labels: list[str] = []
    with torch.inference_mode():
        for start in range(0, len(texts), BATCH):
            batch = tokenizer(list(texts[start : start + BATCH]), padding=True, truncation=True, return_tensors="pt")
            labels += [names[column] for column in logits(batch).argmax(-1).tolist()]
    return labels


Export = Callable[..., Any]
"""Has the arguments of :func:`muka_fast.export.export`, and returns what it returns."""


def find_runtimes(
    folder: Path, work: Path, sample: Corpus, *, quick: bool = False, exporter: Export | None = None
) -> dict[str, Runtime | str]:
    """Export the student, and return each runtime, or why it is missing.

    Args:
        folder: The student.
        work: Folder for the exports.
        sample: Texts that the graphs are compared on.
        quick: Leave out ``torch.compile`` and the graph without fused operators.
        exporter: Exports a student; default: :func:`muka_fast.export.export`.
    """
    if exporter is None:
        from muka_fast.export import export

        exporter = export
    fused = _export(folder, work / "fused", ("fp32", "int8"), sample, "cpu", exporter)
    weights = sum(file.stat().st_size for file in folder.glob("*.safetensors"))

    def exported(graph: int | str, set_up: SetUp) -> Runtime | str:
        return graph if isinstance(graph, str) else Runtime(graph, set_up)

    runtimes: dict[str, Runtime | str] = {
        PIPELINE: Runtime(weights, partial(pipeline, folder)),
        "torch, eager": Runtime(weights, partial(pytorch, folder)),
    }
    if not quick:
        plain = _export(folder, work / "plain", ("fp32",), sample, "none", exporter)
        runtimes["torch.compile"] = Runtime(weights, partial(pytorch, folder, compiled=True))
        runtimes["ONNX fp32, not fused"] = exported(plain["fp32"], partial(onnx, work / "plain", "fp32"))
    runtimes["ONNX fp32, fused"] = exported(fused["fp32"], partial(onnx, work / "fused", "fp32"))
    runtimes["ONNX int8"] = exported(fused["int8"], partial(onnx, work / "fused", "int8"))
    runtimes["Optimum, fused graph"] = exported(fused["fp32"], partial(optimum, work / "fused"))
    in_pipeline = partial(optimum, work / "fused", in_pipeline=True)
    runtimes["Optimum pipeline, fused graph"] = exported(fused["fp32"], in_pipeline)
    return runtimes


def _export(
    folder: Path, out: Path, precisions: Sequence[str], sample: Corpus, fuse: str, exporter: Export
) -> dict[str, int | str]:
    """Export a student; return by precision the bytes of the graph, or the error that refused it."""
    try:
        graphs = exporter(str(folder), out, precisions=precisions, fuse=fuse, texts=sample).graphs
    except MukaError as error:
        if len(precisions) == 1:
            return {precisions[0]: error.what}
        # Any of the precisions may have been refused: the first one is exported alone.
        first = _export(folder, out, precisions[:1], sample, fuse, exporter)
        return first | dict.fromkeys(precisions[1:], error.what)
    return {precision: graph.bytes for precision, graph in graphs.items()}
