"""Builds the engine of a teacher, and checks that its logits are those of the teacher's model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.errors import ModelError, first_line
from muka_fast.uncertainty import onednn
from muka_fast.uncertainty.encoder_parts import Encoder
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.packed_engine import PackedEngine
from muka_fast.uncertainty.packing import PackedBatch, pack
from muka_fast.uncertainty.reference_engine import ReferenceEngine
from muka_fast.uncertainty.text_config import text_config, vocabulary_size
from muka_fast.uncertainty.torch_ops import TorchOperations

_PROBE_LENGTHS = (150, 7, 7, 1)
TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}
"""Largest difference of logits that count as equal, by the type of the weights, relative to the largest logit or 1."""


def known_family(model: Any) -> bool:
    """Return whether a model, its weights loaded or not, is of a family with an encoder of its own."""
    config = model.config
    return (
        config.model_type in FAMILIES
        and type(model).__module__.startswith("transformers.models.")
        and type(model).__name__.endswith("ForSequenceClassification")
        and not getattr(config, "is_decoder", False)
        and getattr(config, "position_embedding_type", "absolute") == "absolute"
    )


def _operations(encoder: Encoder, device: torch.device, where: str, log: Callable[[str], None]) -> TorchOperations:
    """Return the Triton operations if they can run, else the PyTorch operations; on CUDA the reason is logged."""
    if device.type != "cuda":
        return TorchOperations()
    major, minor = torch.cuda.get_device_capability(device)
    if not find_spec("triton"):
        reason = "triton is not installed"
    elif (major, minor) < (8, 0):
        reason = f"Triton needs a GPU of compute capability 8.0 or newer, this one has {major}.{minor}"
    else:
        from muka_fast.uncertainty.triton_ops import HEAD_SIZES, TritonOperations, can_run

        if can_run(encoder):
            return TritonOperations()
        reason = f"the size of its attention heads is not one of {', '.join(map(str, HEAD_SIZES))}"
    log(f"{where}: no GPU kernels ({reason}); masks are drawn on the CPU, which is many times slower")
    return TorchOperations()


def _runs_by_onednn(model: Any) -> bool:
    """Return whether the products of a model's layers run by oneDNN on this machine."""
    return (
        model.device.type == "cpu"
        and model.dtype == torch.float32
        and onednn.is_available()
        and onednn.is_faster(onednn.cpu_vendor(), torch.backends.cpu.get_cpu_capability())
    )


def probe_batch(model: Any, lengths: Sequence[int] = _PROBE_LENGTHS) -> PackedBatch:
    """Return a batch of random tokens; by default one long text and three short ones."""
    config = text_config(model.config)
    limit = getattr(config, "max_position_embeddings", None)
    longest = limit - 4 if isinstance(limit, int) and limit > 4 else max(lengths)
    random = np.random.default_rng(0)
    rows = [
        {"input_ids": random.integers(0, vocabulary_size(config) or 2, size=min(size, longest))} for size in lengths
    ]
    return pack(rows, np.arange(len(rows), dtype=np.uint64), model.device)


def _difference(model: Any, engine: Engine, reference: Engine) -> float:
    """Return the largest difference between the logits of two engines, relative to the largest logit."""
    probe = probe_batch(model)
    expected = reference.deterministic_pass(probe).logits.float()
    return float(
        (engine.deterministic_pass(probe).logits.float() - expected).abs().max() / expected.abs().max().clamp_min(1)
    )


def build_engine(
    model: Any,
    key: int,
    *,
    where: str,
    scope: str = "full",
    budget: int = TOKEN_BUDGET["cpu"],
    operations: Any = None,
    log: Callable[[str], None] = lambda _: None,
) -> Engine:
    """Return the fastest engine that gives this model's own logits.

    Args:
        model: A transformers sequence classifier in eval mode.
        key: Key of the masks; equal keys give equal masks.
        where: Name of the model in messages.
        scope: Which sites are live; models of unknown families run with all sites live.
        budget: Rows per layer call.
        operations: See :class:`PackedEngine`.
        log: Receives a line if the model runs in the reference engine, on a GPU without the kernels, or without the
            oneDNN products that this processor should have.

    Raises:
        ModelError: If the model has no such scope, or if the scope needs the packed engine and its logits differ from
            the model's.
    """
    reference = ReferenceEngine(model, key)
    if not known_family(model):
        log(
            f"{where}: no packed engine for {type(model).__name__}; using the reference engine, every dropout site live"
        )
        return reference
    try:
        encoder = FAMILIES[model.config.model_type](model)
        operations = operations or _operations(encoder, model.device, where, log)
        engine = PackedEngine(encoder, key, scope=scope, budget=budget, operations=operations)
    except ValueError as error:
        raise ModelError(str(error), where=where, hint="use scope full, last-N or head") from None
    except (AttributeError, NotImplementedError) as error:
        return _fall_back(reference, scope, where, f"its modules differ from the family's ({error})", log)
    problem = ""
    if _runs_by_onednn(model):
        try:
            packed = onednn.pack_encoder(encoder)
            by_onednn = PackedEngine(packed, key, scope=scope, budget=budget, operations=operations)
            difference = _difference(model, by_onednn, reference)
            if difference <= TOLERANCE[model.dtype]:
                return by_onednn
            problem = f"its logits by oneDNN's products differ from the model's by {difference:.1e}"
        except RuntimeError as error:
            problem = f"oneDNN's products fail ({first_line(error)})"
    difference = _difference(model, engine, reference)
    if not difference <= TOLERANCE[model.dtype]:
        return _fall_back(
            reference, scope, where, f"the encoder's logits differ from the model's by {difference:.1e}", log
        )
    if problem:
        log(f"{where}: {problem}; using PyTorch's products")
    return engine


def _fall_back(reference: Engine, scope: str, where: str, reason: str, log: Callable[[str], None]) -> Engine:
    if scope != "full":
        raise ModelError(f"scope {scope!r} is not available: {reason}", where=where, hint="use scope full")
    log(f"{where}: {reason}; using the reference engine, every dropout site live")
    return reference
