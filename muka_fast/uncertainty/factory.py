"""Which form of the engine a teacher gets, and the proof on the spot that it computes what the teacher computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import TOKEN_BUDGET
from muka_fast.errors import ModelError
from muka_fast.uncertainty.encoders import FAMILIES, Encoder
from muka_fast.uncertainty.engine import Engine
from muka_fast.uncertainty.packed_engine import PackedEngine
from muka_fast.uncertainty.packing import PackedBatch, pack
from muka_fast.uncertainty.reference_engine import ReferenceEngine
from muka_fast.uncertainty.torch_ops import TorchOperations

_PROBE_LENGTHS = (150, 7, 7, 1)
_TOLERANCE = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 1e-1}


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
    """Return Triton kernels where they can run, PyTorch operations elsewhere; on CUDA a line says why."""
    if device.type != "cuda":
        return TorchOperations()
    major, minor = torch.cuda.get_device_capability(device)
    if not find_spec("triton"):
        reason = "triton is not installed"
    elif (major, minor) < (8, 0):
        reason = f"they need a GPU of compute capability 8.0 or newer, this one has {major}.{minor}"
    else:
        from muka_fast.uncertainty.triton_ops import HEAD_SIZES, TritonOperations, can_run

        if can_run(encoder):
            return TritonOperations()
        reason = f"its attention heads are of another size than {', '.join(map(str, HEAD_SIZES))}"
    log(f"{where}: no kernels, {reason}; masks are drawn on the CPU, which is many times slower")
    return TorchOperations()


def probe_batch(model: Any, lengths: Sequence[int] = _PROBE_LENGTHS) -> PackedBatch:
    """Return a batch of random tokens, by default of long and short texts."""
    limit = getattr(model.config, "max_position_embeddings", None)
    longest = limit - 4 if isinstance(limit, int) and limit > 4 else max(lengths)
    random = np.random.default_rng(0)
    rows = [{"input_ids": random.integers(0, model.config.vocab_size, size=min(size, longest))} for size in lengths]
    return pack(rows, np.arange(len(rows), dtype=np.uint64), model.device)


def _difference(model: Any, ours: Engine, theirs: Engine) -> float:
    """Return the largest difference of their logits, in units of the largest logit."""
    probe = probe_batch(model)
    expected = theirs.deterministic_pass(probe).logits.float()
    return float(
        (ours.deterministic_pass(probe).logits.float() - expected).abs().max() / expected.abs().max().clamp_min(1)
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
        key: Names run and teacher; equal keys give equal masks.
        where: What to call the model in messages.
        scope: Which sites are live; models of unknown families run with all of them.
        budget: Rows that go through a layer at once.
        operations: See :class:`PackedEngine`.
        log: Receives a line if the model's family has no faster form, or a GPU runs it without the kernels.

    Raises:
        ModelError: If the family is known, the encoder's logits are not the model's, and the scope needs the encoder;
            or if the model has no such scope.
    """
    plain = ReferenceEngine(model, key)
    if not known_family(model):
        log(f"{where}: no faster form for {type(model).__name__}; running it as it is, every dropout site live")
        return plain
    try:
        encoder = FAMILIES[model.config.model_type](model)
        operations = operations or _operations(encoder, model.device, where, log)
        engine = PackedEngine(encoder, key, scope=scope, budget=budget, operations=operations)
    except ValueError as error:
        raise ModelError(str(error), where=where, hint="use scope full, last-N or head") from None
    except (AttributeError, NotImplementedError) as error:
        return _unusual(plain, scope, where, f"its parts differ from the family's ({error})", log)
    difference = _difference(model, engine, plain)
    if not difference <= _TOLERANCE[model.dtype]:
        return _unusual(plain, scope, where, f"the encoder's logits differ from the model's by {difference:.1e}", log)
    return engine


def _unusual(plain: Engine, scope: str, where: str, reason: str, log: Callable[[str], None]) -> Engine:
    if scope != "full":
        raise ModelError(f"scope {scope!r} is not available: {reason}", where=where, hint="use scope full")
    log(f"{where}: {reason}; running it as it is, every dropout site live")
    return plain
