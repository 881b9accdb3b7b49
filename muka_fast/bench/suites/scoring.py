"""Suite ``scoring``: K dropout passes by the engine and by other implementations.

* ``MUKI reference``: K eager passes of ``model.train()`` over texts padded to 128 tokens, in batches of 16, as in the
  published code.
* ``batched PyTorch``: the fastest form without new kernels: K in the batch dimension, sorted lengths, dynamic padding,
  SDPA, inference mode.
* ``torch-uncertainty``, ``baal``: the wrappers of these libraries, adapted to Hugging Face models and batched like
  ``batched PyTorch``. They leave attention dropout off, which saves them work.
* ``hand-packed``, on CPUs: rows without padding, attention on groups of equal length, the last layer for the first
  row alone; also with the layers' products by oneDNN.
* ``deterministic``: one pass of the Hugging Face model.

Every case starts from token ids and makes its own batches. On a GPU all cases run in fp32 and with bf16 weights, each
precision in a suite of its own, and ``batched PyTorch`` also runs under ``torch.compile``.

Roofline: the matrix products of the passes over the unpadded texts, of the last layer only those for the row that the
head reads, the layers below the scope once; or reading the weights once.

Needs torch, transformers and numpy alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from muka_fast.bench import baselines
from muka_fast.bench.baselines import REFERENCE_BATCH, Workload
from muka_fast.bench.hand_packed import hand_packed
from muka_fast.bench.timer import BASELINE_ERRORS, OPTIONAL_ERRORS, Case, Run, Suite, Work
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import known_family
from muka_fast.uncertainty.torch_ops import TorchOperations

SHAPES = {"bert-base": (768, 12, 12, 3072), "minilm": (384, 6, 12, 1536)}
"""Width, layers, heads and inner width of models with random weights."""


def layer_sizes(config: Any) -> tuple[int, int, int] | None:
    """Return width, inner width and number of layers from a family's configuration; None if unknown."""
    names = ("hidden_size", "dim"), ("intermediate_size", "hidden_dim"), ("num_hidden_layers", "n_layers")
    width, inner, layers = (
        next((value for name in one if isinstance(value := getattr(config, name, None), int)), None) for one in names
    )
    return None if width is None or inner is None or layers is None else (width, inner, layers)


def flops(
    sequences: Sequence[Any], config: Any, max_length: int | None = None, *, passes: int = 1, scope: str = "full"
) -> float | None:
    """Return the FLOPs of the matrix products of passes over unpadded texts, the last layer for the read row alone.

    Args:
        sequences: Token ids of each text.
        config: The model's configuration.
        max_length: Tokens after which texts are truncated.
        passes: K.
        scope: Which dropout sites are live; the layers below them are computed once.

    Returns:
        None if the model's sizes are not known.
    """
    found = layer_sizes(config)
    if found is None:
        return None
    width, inner, layers = found
    total = 0.0
    for sequence in sequences:
        n = len(sequence) if max_length is None else min(len(sequence), max_length)
        layer = 2 * n * (4 * width * width + 2 * width * inner) + 4 * n * n * width
        # The last layer: keys and values of all rows, the query of the read row; then the products of that row alone.
        project, attend = (2 * n * 2 + 2) * width * width, 2 * (width * width + 2 * width * inner) + 4 * n * width
        if scope in ("tail", "head"):
            total += (layers - 1) * layer + project + (passes if scope == "tail" else 1) * attend
        else:
            live = layers if scope == "full" else min(layers, int(scope.removeprefix("last-")))
            total += (layers - live) * layer + passes * ((live - 1) * layer + project + attend)
    return total


def parameter_bytes(model: Any) -> float:
    """Return the bytes of all weights except the embeddings, of which a pass reads only some rows."""
    return float(sum(p.numel() * p.element_size() for name, p in model.named_parameters() if "embedding" not in name))


def precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions to measure on a device."""
    return ("fp32", "bf16") if device.type == "cuda" else ("fp32",)


def random_bert(shape: str, device: torch.device) -> Any:
    """Build a BERT of a known shape with random weights."""
    from transformers import BertConfig, BertForSequenceClassification

    width, layers, heads, inner = SHAPES[shape]
    config = BertConfig(
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=inner,
        num_labels=4,
    )
    torch.manual_seed(0)
    return BertForSequenceClassification(config).to(device).eval()


def build_suite(
    model: Any, workload: Workload, *, baseline_texts: int = REFERENCE_BATCH, precision: str = "fp32"
) -> Suite:
    """Return the cases of one teacher.

    Args:
        model: The Hugging Face model in eval mode.
        workload: The texts.
        baseline_texts: Texts that the MUKI reference runs on.
        precision: Of the weights of every case, ``fp32`` or ``bf16``.
    """
    if precision == "bf16":
        model = copy.deepcopy(model).to(torch.bfloat16)
    fewer, weights = workload.subset(baseline_texts), parameter_bytes(model)

    def case(
        name: str,
        set_up: Callable[[], Run],
        *,
        passes: int = workload.passes,
        on: Workload = workload,
        scope: str = "full",
        max_length: int | None = None,
        allowed_errors: tuple[type[Exception], ...] = (),
    ) -> Case:
        least = flops(on.sequences, model.config, max_length, passes=passes, scope=scope)
        work = None if least is None else Work(least, weights)
        return Case(name, set_up, len(on.sequences), work, precision, passes, allowed_errors)

    def engine(name: str, model: Any = model, on: Workload = workload, scope: str = "full", **options: Any) -> Case:
        passes = 1 if options.get("deterministic") else workload.passes
        set_up = partial(baselines.EngineRun, model, on, scope, **options)
        allowed = () if scope == "full" else OPTIONAL_ERRORS  # the reference engine has no other scope
        return case(f"engine, {name}", set_up, on=on, scope=scope, passes=passes, allowed_errors=allowed)

    without_dropout = baselines.without_dropout(model)
    cases = [
        case("deterministic", partial(baselines.deterministic, model, workload), passes=1),
        case(
            "MUKI reference",
            partial(baselines.muki_reference, model, fewer),
            on=fewer,
            max_length=baselines.reference_length(model),
        ),
        case("batched PyTorch", partial(baselines.batched_pytorch, model, workload)),
        case("batched PyTorch, no dropout", partial(baselines.batched_pytorch, without_dropout, workload)),
        case(
            "torch-uncertainty",
            partial(baselines.torch_uncertainty, model, workload),
            allowed_errors=BASELINE_ERRORS,
        ),
        case("baal", partial(baselines.baal, model, workload), allowed_errors=BASELINE_ERRORS),
        engine("deterministic pass", deterministic=True),
        engine("full"),
        engine("full, no dropout", without_dropout),
        *(engine(scope, scope=scope) for scope in scopes(model)),
    ]
    if workload.device.type == "cuda":
        compiled = lambda: torch.compile(copy.deepcopy(model), dynamic=True)  # noqa: E731
        cases += [
            case(
                "batched PyTorch, compiled",
                lambda: baselines.batched_pytorch(compiled(), workload),
                allowed_errors=BASELINE_ERRORS,
            ),
            # Eight texts: the CPU computes the masks of these operations.
            engine("full, PyTorch operations", on=workload.subset(8), operations=TorchOperations()),
        ]
    if workload.device.type == "cpu":
        packed = partial(hand_packed, model, workload)
        cases += [
            case("hand-packed", packed, allowed_errors=BASELINE_ERRORS),
            case("hand-packed, oneDNN", partial(packed, by_onednn=True), allowed_errors=BASELINE_ERRORS),
        ]
    settings = suite_settings(model, workload) | {"precision": precision}
    return Suite("text", cases, ("MUKI reference", "batched PyTorch"), settings)


def scopes(model: Any) -> tuple[str, ...]:
    """Return the scopes other than ``full`` that a model's engine has."""
    if not known_family(model):
        return ()
    try:
        cls_pooling = FAMILIES[model.config.model_type](model).cls_pooling
    except (ValueError, AttributeError, NotImplementedError):  # the reference engine runs it, with every site live
        return ()
    return ("last-2", "tail", "head") if cls_pooling else ("last-2", "head")


def suite_settings(model: Any, workload: Workload) -> dict[str, Any]:
    """Return the settings of the suite."""
    least, count = flops(workload.sequences, model.config), len(workload.sequences)
    return {
        "texts": count,
        "tokens": sum(map(len, workload.sequences)) / count,
        "passes": workload.passes,
        "token_budget": workload.budget,
        "weights": sum(p.numel() for p in model.parameters()),
        "gflop_per_text_and_pass": None if least is None else least / count / 1e9,
    }
