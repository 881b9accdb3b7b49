"""Export a classifier to ONNX: traced, fused, held against the model it came from, and only then put in place."""

from __future__ import annotations

import fnmatch
import hashlib
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.label_space import match_labels
from muka_fast.data.synthetic import utterances
from muka_fast.errors import CheckFailed, ModelError, OutputError, RecipeError
from muka_fast.export.export_record import RECORD, ExportedGraph, ExportRecord, Parity, is_exported
from muka_fast.export.graph import OPSET, Graph, trace
from muka_fast.export.onnx_classifier import OnnxClassifier
from muka_fast.export.parity import ParityChecker, Tolerances
from muka_fast.export.quantization import SCHEMES, to_half, to_int8
from muka_fast.export.sessions import open_session
from muka_fast.inference.predictions import CALIBRATION_KEY, Calibration
from muka_fast.models.checkpoint import (
    TOKENIZER_FILES,
    WEIGHT_FILES,
    check_weights,
    find_checkpoint,
    load_model,
    read_config,
    token_limit,
)
from muka_fast.models.teacher import check_head
from muka_fast.runtime.environment import PACKAGES, versions
from muka_fast.runtime.progress import Progress

PRECISIONS = ("fp32", "fp16", "int8")
FUSIONS = ("none", "cpu", "cuda")
_GRAPHS = ("model.onnx", *(f"model_{precision}.onnx" for precision in PRECISIONS))
# All that an export ever writes; --overwrite deletes nothing else.
_OURS = (RECORD, "config.json", *_GRAPHS, *(f"{graph}.data" for graph in _GRAPHS), *TOKENIZER_FILES, "*.jinja")
_LIBRARIES = (*PACKAGES, "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        folder: Where it lies.
        graphs: By precision, in the order asked for.
        fused: How many operators each fusion made.
        record: The content of ``export.json``.
    """

    folder: Path
    graphs: dict[str, ExportedGraph]
    fused: dict[str, int]
    record: ExportRecord


def export(
    model: str,
    output: str | Path,
    *,
    precisions: Sequence[str] = ("fp32",),
    fuse: str = "cpu",
    opset: int = OPSET,
    texts: Corpus | None = None,
    labelled: Corpus | None = None,
    bounds: Tolerances | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export a sequence classifier; nothing is written where a graph does not say what the model says.

    Args:
        model: Folder or hub id.
        output: Folder to write: the graphs, tokenizer, ``config.json`` and ``export.json``.
        precisions: Some of ``fp32``, ``fp16``, ``int8``. The first one (or fp32, if it is among them) becomes
            ``model.onnx``, the others ``model_fp16.onnx`` and so on.
        fuse: ``none``, ``cpu`` or ``cuda``.
        opset: Version of the ONNX operators.
        texts: What graph and model are compared on; default: utterances of the demo.
        labelled: Labelled texts: fp16 and int8 are then judged by accuracy.
        bounds: What they may lose.
        overwrite: Replace an earlier export; other files beside it stay.
        progress: Where to tell how far it is; default stderr.

    Raises:
        CheckFailed: If a graph loses more than the bounds allow.
        RecipeError: If there is no such precision or fusion.
        OutputError: If the folder holds anything but an earlier export.
        ModelError: If the model cannot be loaded or traced, or its head is not single-label.
    """
    progress, bounds = progress or Progress(), bounds or Tolerances()
    for given, known in ((precisions, PRECISIONS), ((fuse,), FUSIONS)):
        if not given or not set(given) <= set(known):
            raise RecipeError(f"not a choice: {', '.join(given)}", where="export", hint=", ".join(known))
    output = Path(output).resolve()
    _require_usable(output, overwrite)
    checkpoint = find_checkpoint(model)
    config = read_config(checkpoint)
    check_head(config, checkpoint.where)
    check_weights(checkpoint)
    loaded, tokenizer = load_model(checkpoint, config, torch.device("cpu"))
    names = tuple(str(config.id2label.get(index, index)) for index in range(config.num_labels))
    max_length = token_limit(loaded, tokenizer)
    judged = None
    if labelled is not None:
        truth, _ = match_labels(names, labelled.labels or (), where="the labelled texts")
        judged = labelled.take((truth >= 0).nonzero()[0]), truth[truth >= 0]
    with progress.stage("logits of the model"):
        gate = ParityChecker(loaded, tokenizer, max_length, _utterances() if texts is None else texts, judged)
    inputs = tuple(name for name in tokenizer.model_input_names if name in gate.inputs)
    staging = output.parent / f".{output.name}.{os.getpid()}.tmp"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with progress.stage("export"):
            graph = trace(loaded, inputs, checkpoint.where, opset=opset, fuse=fuse)
        with progress.stage("graphs and parity"):
            graphs = _graphs(graph, staging, tuple(dict.fromkeys(precisions)), gate, bounds, progress)
        tokenizer.model_max_length = max_length
        tokenizer.save_pretrained(staging)
        loaded.config.save_pretrained(staging)
        record = ExportRecord(
            model=model,
            revision=checkpoint.revision,
            weights=checkpoint.fingerprint(WEIGHT_FILES),
            opset=opset,
            fuse=fuse,
            fused=graph.fused,
            graphs=graphs,
            labels=names,
            max_length=max_length,
            calibration=Calibration.read(getattr(config, CALIBRATION_KEY, None)),
            inputs={name: _padding(name, tokenizer) for name in inputs},
            padding_side=tokenizer.padding_side,
            truncation_side=tokenizer.truncation_side,
            versions=versions(_LIBRARIES),
        )
        record.write(staging)
        if (staging / "tokenizer.json").exists():
            gate.check_tokenizer(OnnxClassifier(staging, device="cpu").encode)
        else:
            progress.log("its tokenizer runs in transformers only: the folder serves there and in Optimum")
        _replace(output, staging)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return Exported(output, graphs, graph.fused, record)


def _replace(output: Path, staging: Path) -> None:
    """Put a finished folder in the place of an earlier one, which goes last; what is not an export's moves over."""
    old = staging.with_name(f"{staging.name}.old")
    if output.exists():
        output.rename(old)
    try:
        staging.rename(output)
    except OSError:
        if old.exists():
            old.rename(output)
        raise
    for entry in sorted(old.iterdir()) if old.exists() else ():
        ours = any(fnmatch.fnmatch(entry.name, pattern) for pattern in _OURS)
        if not ours and not (output / entry.name).exists():
            entry.rename(output / entry.name)
    shutil.rmtree(old, ignore_errors=True)


def _require_usable(output: Path, overwrite: bool) -> None:
    if output.exists() and not output.is_dir():
        raise OutputError("the output is a file", where=str(output), hint="give a folder")
    if not output.exists() or not any(output.iterdir()):
        return
    if not is_exported(output):
        raise OutputError("the folder is not empty and is no export", where=str(output), hint="choose another folder")
    if not overwrite:
        raise OutputError("the folder holds an export", where=str(output), hint="--overwrite, or another folder")


def _utterances() -> Corpus:
    return build_corpus([text for text, _ in utterances(256, seed=0)])


def _padding(name: str, tokenizer: Any) -> int:
    return {"input_ids": tokenizer.pad_token_id or 0, "token_type_ids": tokenizer.pad_token_type_id}.get(name, 0)


def _graphs(
    graph: Graph, folder: Path, precisions: tuple[str, ...], gate: ParityChecker, bounds: Tolerances, progress: Progress
) -> dict[str, ExportedGraph]:
    """Write a graph of each precision that stays within the bounds."""
    plain = folder / "model.onnx"
    main = "fp32" if "fp32" in precisions else precisions[0]
    exact = plain if main == "fp32" else folder / ".fp32.onnx"
    graph.save(exact)
    found = {}
    for precision in precisions:
        path = plain if precision == main else folder / f"model_{precision}.onnx"
        parity, scheme = _within_bounds(precision, exact, path, gate, bounds, progress)
        found[precision] = ExportedGraph(path.name, _size(path), _sha256(path), scheme, parity)
    if exact != plain:
        for leftover in folder.glob(f"{exact.name}*"):
            leftover.unlink()
    return found


def _within_bounds(
    precision: str, exact: Path, path: Path, gate: ParityChecker, bounds: Tolerances, progress: Progress
) -> tuple[Parity, str]:
    """Write one precision, int8 in the first way that stays within the bounds.

    Raises:
        CheckFailed: If none does.
    """
    tried = []
    for scheme in SCHEMES if precision == "int8" else (None,):
        if path != exact:
            for refused in path.parent.glob(f"{path.name}*"):  # weights beside a graph would be added to
                refused.unlink()
        try:
            if scheme is not None:
                to_int8(exact, path, scheme)
            elif precision == "fp16":
                to_half(exact, path)
            parity = gate.compare(open_session(path, "cpu").run)
            violation = bounds.violation(parity, precision)
        except (CheckFailed, ModelError) as error:  # it cannot be made, does not load or run, or gives no numbers
            violation = error.what
        if not violation:
            return parity, scheme.name if scheme else ""
        tried.append(f"{scheme.name}: {violation}" if scheme else violation)
        if scheme is not None:
            progress.log(f"int8, {tried[-1]}")
    raise CheckFailed(
        f"the {precision} graph is not the model's: {'; '.join(tried)}",
        where="parity",
        hint=f"export without {precision}, or allow more: --atol, --min-agreement, --max-loss"
        if precision != "fp32"
        else "try --fuse none, or allow more with --atol",
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _sha256(path: Path) -> str:
    """Hash a graph and, if its weights lie beside it, those too."""
    digest = hashlib.sha256()
    for file in sorted(path.parent.glob(f"{path.name}*")):
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()
