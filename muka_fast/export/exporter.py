"""Export a classifier to ONNX: load, trace and fuse, write graphs that pass the parity check, then move into place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from muka_fast.data.batching import Padding
from muka_fast.data.corpus import Corpus, build_corpus
from muka_fast.data.label_space import match_labels
from muka_fast.data.synthetic import utterances
from muka_fast.errors import CheckFailed, CorpusError, ModelError, RecipeError
from muka_fast.export.export_directory import commit, staging
from muka_fast.export.export_record import ExportedGraph, ExportRecord, Parity
from muka_fast.export.graph import OPSET, Graph, trace
from muka_fast.export.onnx_classifier import OnnxClassifier
from muka_fast.export.parity import ParityChecker, Tolerances
from muka_fast.export.quantization import SCHEMES, to_half, to_int8
from muka_fast.export.sessions import open_session
from muka_fast.inference.predictions import CALIBRATION_KEY, Calibration
from muka_fast.models.checkpoint import Checkpoint, check_weights, find_checkpoint
from muka_fast.models.head import read_head
from muka_fast.models.integrity import WEIGHT_FILES
from muka_fast.models.loading import load_model, read_config, token_limit
from muka_fast.models.padding import choose_padding
from muka_fast.runtime.environment import PACKAGES, versions
from muka_fast.runtime.integrity import record_files
from muka_fast.runtime.progress import Progress

PRECISIONS = ("fp32", "fp16", "int8")
FUSIONS = ("none", "cpu", "cuda")
_LIBRARIES = (*PACKAGES, "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu")


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        folder: Output folder.
        graphs: Graphs by precision, in the order of the arguments.
        fused: Number of operators that each fusion made.
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
    tolerances: Tolerances | None = None,
    overwrite: bool = False,
    wait: bool = False,
    trust_remote_code: bool = False,
    progress: Progress | None = None,
) -> Exported:
    """Export a sequence classifier to ONNX; nothing is written if a graph differs from the model.

    Args:
        model: Folder or hub id.
        output: Folder to write: the graphs, tokenizer, ``config.json`` and ``export.json``.
        precisions: Some of ``fp32``, ``fp16``, ``int8``. The first one (or fp32, if it is among them) becomes
            ``model.onnx``, the others ``model_fp16.onnx`` and so on.
        fuse: ``none``, ``cpu`` or ``cuda``.
        opset: Version of the ONNX operators.
        texts: Texts on which graph and model are compared; default: synthetic utterances.
        labelled: Labelled texts, on which fp16 and int8 are compared by accuracy.
        tolerances: Allowed differences between graph and model.
        overwrite: Replace an earlier export; other files beside it stay.
        wait: Wait for another export to the same folder, instead of raising.
        trust_remote_code: Run model code that lies beside the weights.
        progress: Receives messages and stages; default: stderr.

    Raises:
        CheckFailed: If a graph differs from the model by more than the tolerances.
        RecipeError: If a precision or fusion does not exist.
        OutputError: If the output folder holds anything but an earlier export, or another process writes to it.
        CorpusError: If ``texts`` is empty.
        ModelError: If the model cannot be loaded or traced, or its head is not single-label.
    """
    progress, tolerances = progress or Progress(), tolerances or Tolerances()
    for given, known in ((precisions, PRECISIONS), ((fuse,), FUSIONS)):
        if not given or not set(given) <= set(known):
            raise RecipeError(f"not a choice: {', '.join(given)}", where="export", hint=", ".join(known))
    output = Path(output).resolve()
    with staging(output, overwrite=overwrite, wait=wait, progress=progress) as folder:
        source = _load(model, trust_remote_code=trust_remote_code)
        with progress.stage("logits of the model"):
            checker = _parity_checker(source, texts, labelled)
        inputs = tuple(source.padding.values)
        with progress.stage("export"):
            graph = trace(source.model, inputs, source.checkpoint.where, opset=opset, fuse=fuse)
        chosen = tuple(dict.fromkeys(precisions))
        with progress.stage("graphs and parity"):
            try:
                graphs = _write_graphs(graph, folder, chosen, checker, tolerances, progress)
            except CheckFailed as error:
                if not graph.fused:
                    raise
                progress.log(f"{error.what}; exporting without fused operators")
                fuse = "none"
                graph = trace(source.model, inputs, source.checkpoint.where, opset=opset, fuse=fuse)
                graphs = _write_graphs(graph, folder, chosen, checker, tolerances, progress)
        source.tokenizer.model_max_length = source.max_length
        source.tokenizer.save_pretrained(folder)
        source.model.config.save_pretrained(folder)
        record = ExportRecord(
            model=model,
            revision=source.checkpoint.revision,
            weights=source.checkpoint.fingerprint(WEIGHT_FILES),
            opset=opset,
            fuse=fuse,
            fused=graph.fused,
            graphs=graphs,
            labels=source.labels,
            max_length=source.max_length,
            calibration=Calibration.read(getattr(source.model.config, CALIBRATION_KEY, None), source.checkpoint.where),
            inputs=dict(source.padding.values),
            padding_side=source.padding.side,
            mixed_lengths=source.padding.mixed_lengths,
            counted_token=source.padding.counted_token,
            truncation_side=source.tokenizer.truncation_side,
            versions=versions(_LIBRARIES),
            files=record_files(folder, (file.name for file in folder.iterdir() if file.is_file())),
        )
        record.write(folder)
        _check_tokenizer(folder, checker, progress)
        commit(output, folder)
    return Exported(output, graphs, graph.fused, record)


@dataclass(frozen=True)
class _Source:
    """The classifier to export, on the CPU."""

    checkpoint: Checkpoint
    model: Any
    tokenizer: Any
    padding: Padding
    labels: tuple[str, ...]
    max_length: int


def _load(name: str, *, trust_remote_code: bool) -> _Source:
    checkpoint = find_checkpoint(name, trust_remote_code=trust_remote_code)
    config = read_config(checkpoint)
    labels = read_head(config, checkpoint.where)
    check_weights(checkpoint)
    model, tokenizer = load_model(checkpoint, config, torch.device("cpu"))
    max_length = token_limit(model, tokenizer)
    padding = choose_padding(model, tokenizer, max_length)
    return _Source(checkpoint, model, tokenizer, padding, labels, max_length)


def _parity_checker(source: _Source, texts: Corpus | None, labelled: Corpus | None) -> ParityChecker:
    """Compute the model's logits; labelled texts of unknown classes are left out."""
    if texts is None:
        texts = build_corpus([text for text, _ in utterances(256, seed=0)])
    if not len(texts):
        raise CorpusError("no texts to compare graph and model on", where="export", hint="give at least one text")
    known = None
    if labelled is not None:
        classes, _ = match_labels(source.labels, labelled.labels or (), where="the labelled texts")
        known = labelled.take((classes >= 0).nonzero()[0]), classes[classes >= 0]
    return ParityChecker(source.model, source.tokenizer, source.padding, source.max_length, texts, known)


def _check_tokenizer(folder: Path, checker: ParityChecker, progress: Progress) -> None:
    """Check that the tokenizer gives the same tokens without transformers."""
    if (folder / "tokenizer.json").exists():
        checker.check_tokenizer(OnnxClassifier(folder, device="cpu").encode)
    else:
        progress.log("the tokenizer runs in transformers only: serve the folder with transformers or Optimum")


def _write_graphs(
    graph: Graph,
    folder: Path,
    precisions: tuple[str, ...],
    checker: ParityChecker,
    tolerances: Tolerances,
    progress: Progress,
) -> dict[str, ExportedGraph]:
    """Write a graph of each precision that stays within the tolerances."""
    default = folder / "model.onnx"
    first = "fp32" if "fp32" in precisions else precisions[0]
    exact = default if first == "fp32" else folder / ".fp32.onnx"
    graph.save(exact)
    graphs = {}
    for precision in precisions:
        path = default if precision == first else folder / f"model_{precision}.onnx"
        parity, scheme = _write_precision(precision, exact, path, checker, tolerances, progress)
        graphs[precision] = ExportedGraph(path.name, _size(path), _sha256(path), scheme, parity)
    if exact != default:
        for leftover in folder.glob(f"{exact.name}*"):
            leftover.unlink()
    return graphs


def _write_precision(
    precision: str, exact: Path, path: Path, checker: ParityChecker, tolerances: Tolerances, progress: Progress
) -> tuple[Parity, str]:
    """Write the graph of one precision, int8 by the first scheme that stays within the tolerances.

    Returns:
        The parity, and the name of the scheme.

    Raises:
        CheckFailed: If no scheme does.
    """
    violations = []
    for scheme in SCHEMES if precision == "int8" else (None,):
        if path != exact:
            for refused in path.parent.glob(f"{path.name}*"):  # a writer would append to weights beside a graph
                refused.unlink()
        try:
            if scheme is not None:
                to_int8(exact, path, scheme)
            elif precision == "fp16":
                to_half(exact, path)
            parity = checker.compare(open_session(path, "cpu").run)
            violation = tolerances.violation(parity, precision)
        except (CheckFailed, ModelError) as error:  # not convertible, does not load or run, or NaN
            violation = error.what
        if not violation:
            return parity, scheme.name if scheme else ""
        violations.append(f"{scheme.name}: {violation}" if scheme else violation)
        if scheme is not None:
            progress.log(f"int8, {violations[-1]}")
    raise CheckFailed(
        f"the {precision} graph differs from the model: {'; '.join(violations)}",
        where="parity",
        hint=f"export without {precision}, or allow more: --atol, --min-agreement, --max-loss"
        if precision != "fp32"
        else "try --fuse none, or allow more with --atol",
    )


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in path.parent.glob(f"{path.name}*"))


def _sha256(path: Path) -> str:
    """Hash a graph and, if its weights are in files beside it, those files."""
    digest = hashlib.sha256()
    for file in sorted(path.parent.glob(f"{path.name}*")):
        with file.open("rb") as handle:
            digest.update(hashlib.file_digest(handle, "sha256").digest())
    return digest.hexdigest()
