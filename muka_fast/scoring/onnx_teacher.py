"""A teacher's deterministic part in ONNX Runtime: logits, inputs of the classifier, the hidden state below a scope.

The dropout passes stay with the engine, so the masks do not change. The graph is cached on disk under a hash of
everything that it depends on.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from muka_fast.data.batching import Padding
from muka_fast.errors import ModelError, MukaError, first_line
from muka_fast.export.graph import trace
from muka_fast.export.quantization import SCHEMES, to_int8
from muka_fast.export.sessions import Session, open_session
from muka_fast.runtime.environment import versions
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.factory import probe_batch
from muka_fast.uncertainty.features import classifier_input, random_projection
from muka_fast.uncertainty.packing import PackedBatch
from muka_fast.uncertainty.signals import DeterministicOutput
from muka_fast.uncertainty.text_config import text_config

FORMAT = 2
"""Increased when the outputs of the graphs change."""
TOLERANCE = 1e-4
_TURNS, _PROBE_TEXTS, _PROBE_LENGTH = 6, 32, 32


def cache_folder() -> Path:
    """Return the cache of exported teachers: ``MUKA_FAST_CACHE``, or ``muka-fast`` in the user's cache folder."""
    own = os.environ.get("MUKA_FAST_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "muka-fast"


@dataclass(frozen=True)
class ExportedTeacher:
    """The deterministic part of a teacher: maps a packed batch to its output and the hidden state below the scope.

    Attributes:
        session: The loaded graph.
        padding: How texts are padded.
    """

    session: Session
    padding: Padding

    def __call__(self, batch: PackedBatch) -> tuple[DeterministicOutput, Tensor | None]:
        """Run a packed batch; also return the hidden state of its rows, (R, width), if the graph has that output."""
        real = self.padding.mask(batch.lengths)
        feed = {}
        for taken in self.session.run.get_inputs():
            array = np.full(real.shape, self.padding.values[taken.name], dtype=np.int64)
            if taken.name == "attention_mask":
                array[real] = 1
            elif taken.name in batch.inputs:
                array[real] = batch.inputs[taken.name].cpu().numpy()
            feed[taken.name] = array
        names = [given.name for given in self.session.run.get_outputs()]
        found = dict(zip(names, self.session.run.run(names, feed), strict=True))
        logits = torch.from_numpy(found["logits"]).to(batch.device)
        read = torch.from_numpy(found["read"]) if "read" in found else logits.new_zeros(len(batch), 0)
        below = torch.from_numpy(found["below"][real]).to(batch.device) if "below" in found else None
        return DeterministicOutput(logits, random_projection(read)), below


@contextmanager
def _hidden_state(model: Any, depth: int | None) -> Iterator[list[Tensor]]:
    """Collect the input of layer ``depth``, or the output of the last layer if it is −1; one entry per forward pass."""
    seen: list[Tensor] = []
    if depth is None:
        yield seen
        return
    base = model.base_model

    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        seen.append(args[0] if args else kwargs["hidden_states"])

    def after(_: nn.Module, args: Any, out: Any) -> None:
        seen.append(out[0])

    if depth < 0:
        handle = base.register_forward_hook(after)
    else:
        count = text_config(model.config).num_hidden_layers
        layers = next(m for m in base.modules() if isinstance(m, nn.ModuleList) and len(m) == count)
        handle = layers[depth].register_forward_pre_hook(before, with_kwargs=True)
    try:
        yield seen
    finally:
        handle.remove()


def _write(model: Any, depth: int | None, path: Path, inputs: tuple[str, ...], where: str) -> None:
    """Trace a teacher with the outputs that scoring needs, and save the graph."""
    with classifier_input(model) as seen, _hidden_state(model, depth) as hidden:
        with torch.inference_mode():  # to find out which outputs exist
            model(**{name: torch.full((1, 2), int(name != "token_type_ids"), dtype=torch.int64) for name in inputs})
        given = {"logits": True, "read": bool(seen), "below": bool(hidden)}

        def outputs(out: Any) -> Mapping[str, Tensor]:
            every = {"logits": out.logits, "read": seen[-1] if seen else None, "below": hidden[-1] if hidden else None}
            return {name: tensor for name, tensor in every.items() if tensor is not None}

        names = [name for name, there in given.items() if there]
        trace(model, inputs, where, output_names=names, outputs=outputs).save(path)


def _on_cpu(model: Any) -> Any:
    """Return a model on the CPU; a model on a GPU is copied, as the engine shares its weights."""
    if model.device.type == "cpu":
        return model
    copy = type(model)(model.config)
    copy.load_state_dict({name: weight.cpu() for name, weight in model.state_dict().items()})
    return copy.eval()


def _graph(model: Any, name: str, depth: int | None, inputs: tuple[str, ...], where: str, *, int8: bool) -> Path:
    """Return the cached graph of a teacher; export it if it is missing."""
    libraries = versions(("torch", "transformers", "onnx", "onnxscript", "onnxruntime", "onnxruntime-gpu"))
    facts = [FORMAT, name, depth, list(inputs), int8, libraries]
    home = cache_folder() / "teachers"
    folder = home / hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    path = folder / "model.onnx"
    if path.exists():
        return path
    home.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=home))
    try:
        exact = staging / ("fp32.onnx" if int8 else path.name)
        _write(_on_cpu(model), depth, exact, inputs, where)
        if int8:
            to_int8(exact, staging / path.name, SCHEMES[1])  # correct on CPUs of every generation
            for leftover in staging.glob(f"{exact.name}*"):
                leftover.unlink()
        try:
            staging.rename(folder)
        except OSError:
            if not path.exists():  # another process may have been first
                raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return path


def export_teacher(
    model: Any,
    engine: Engine,
    name: str,
    *,
    padding: Padding,
    where: str,
    int8: bool = False,
    tolerance: float = TOLERANCE,
) -> ExportedTeacher:
    """Return a teacher's deterministic part as a session, compared with the engine's own.

    Args:
        model: The teacher, fp32.
        engine: Engine of the teacher; its ``prefix_depth`` is the layer from which the passes start.
        name: Fingerprint of weights and configuration.
        padding: How texts are padded; its values name the model's inputs.
        where: Name of the teacher in messages.
        int8: Quantise the graph; its logits are then not compared with the engine's.
        tolerance: Largest difference of a logit, in units of the largest logit or 1.

    Raises:
        ModelError: If the model cannot be exported or run, or the logits differ from the engine's.
        MachineError: If ONNX Runtime or the exporter is missing, or does not run on the model's device.
    """
    inputs = tuple(padding.values)
    if not padding.mixed_lengths:
        raise ModelError("the model reads padding", where=where, hint="teacher_form: torch")
    if model.dtype != torch.float32:
        raise ModelError("the ONNX form needs float32", where=where, hint="dtype: float32, or teacher_form: torch")
    try:
        path = _graph(model, name, engine.prefix_depth, inputs, where, int8=int8)
        device = model.device
        try:
            session = open_session(path, device.type, index=device.index or 0)
        except ModelError:  # damaged on disk: export it again
            shutil.rmtree(path.parent)
            path = _graph(model, name, engine.prefix_depth, inputs, where, int8=int8)
            session = open_session(path, device.type, index=device.index or 0)
        exported = ExportedTeacher(session, padding)
        batch = probe_batch(model)
        expected = engine.deterministic_pass(batch).logits
        difference = float((exported(batch)[0].logits - expected).abs().max() / expected.abs().max().clamp_min(1))
    except (MukaError, MemoryError):
        raise
    except Exception as error:  # torch, the exporter and the runtime raise types of their own
        raise ModelError(
            f"the ONNX form fails: {first_line(error)[:200]}", where=where, hint="teacher_form: torch"
        ) from error
    if not int8 and not difference <= tolerance:
        raise ModelError(f"the ONNX form's logits differ by {difference:.1e}", where=where, hint="teacher_form: torch")
    return exported


def faster(model: Any, engine: Engine, exported: ExportedTeacher) -> tuple[bool, str]:
    """Time the deterministic pass in both forms, interleaved, on texts of equal length as in sorted batches.

    Returns:
        Whether the ONNX form is faster, and the times in words.
    """
    batch = probe_batch(model, [_PROBE_LENGTH] * _PROBE_TEXTS)
    forms: dict[str, Callable[[], object]] = {
        "torch": lambda: engine.deterministic_pass(batch),
        "onnx": lambda: exported(batch),
    }
    times: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(_TURNS):
        for form, run in forms.items():
            started = time.perf_counter()
            run()
            times[form].append(time.perf_counter() - started)
    onnx, torch_ = (median(times[form][1:]) for form in ("onnx", "torch"))
    return onnx < torch_, f"{1000 * onnx:.1f} ms by ONNX Runtime, {1000 * torch_:.1f} ms by PyTorch"
