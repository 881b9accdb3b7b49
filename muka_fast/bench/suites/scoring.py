"""Suite ``scoring``: K dropout passes by the engine, and as others run them.

``authors`` is the published code's way (K eager passes of ``model.train()`` over texts padded to 128, in batches of
16); ``by hand`` the best a user gets without new code (K in the batch dimension, sorted lengths, dynamic padding, SDPA,
inference mode); torch-uncertainty's and baal's wrappers, made to take Hugging Face models, run as ``by hand`` does
(they leave attention dropout off, which saves them work); ``deterministic`` is one Hugging Face pass. Every way starts
from token ids and makes its own batches. On a GPU all run in fp32 and on bf16 weights, each in a suite of its own, and
``by hand`` under ``torch.compile`` too.

The floor: matrix products of the passes over the unpadded texts, the last layer's for the row that is read only, what
lies below the scope once; or the weights read once.

Needs torch, transformers and numpy alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from muka_fast.bench import baselines
from muka_fast.bench.baselines import AUTHORS_BATCH, Workload
from muka_fast.bench.timer import OPTIONAL, PEER, Row, Run, Suite, Work
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.factory import known_family
from muka_fast.uncertainty.torch_ops import TorchOperations

SHAPES = {"bert-base": (768, 12, 12, 3072), "minilm": (384, 6, 12, 1536)}
"""Width, layers, heads and inner width of models that can be made up."""


def sizes(config: Any) -> tuple[int, int, int] | None:
    """Return width, inner width and layers of a configuration, whatever its family calls them; None if unknown."""
    names = ("hidden_size", "dim"), ("intermediate_size", "hidden_dim"), ("num_hidden_layers", "n_layers")
    width, inner, layers = (
        next((value for name in one if isinstance(value := getattr(config, name, None), int)), None) for one in names
    )
    return None if width is None or inner is None or layers is None else (width, inner, layers)


def flops(
    rows: Sequence[Any], config: Any, longest: int | None = None, *, passes: int = 1, scope: str = "full"
) -> float | None:
    """Return the matrix products of passes over unpadded texts; of the last layer only what the read row needs.

    Args:
        rows: Token ids.
        config: The model's.
        longest: Tokens read of a text, if fewer than it has.
        passes: K.
        scope: Which dropout sites are live: what lies below them is computed once.

    Returns:
        None if the model's sizes are not known.
    """
    found = sizes(config)
    if found is None:
        return None
    width, inner, layers = found
    total = 0.0
    for row in rows:
        n = len(row) if longest is None else min(len(row), longest)
        layer = 2 * n * (4 * width * width + 2 * width * inner) + 4 * n * n * width
        # The last layer: keys and values of all rows, the query of the read one; then what only that one needs.
        project, attend = (2 * n * 2 + 2) * width * width, 2 * (width * width + 2 * width * inner) + 4 * n * width
        if scope in ("tail", "head"):
            total += (layers - 1) * layer + project + (passes if scope == "tail" else 1) * attend
        else:
            live = layers if scope == "full" else min(layers, int(scope.removeprefix("last-")))
            total += (layers - live) * layer + passes * ((live - 1) * layer + project + attend)
    return total


def parameter_bytes(model: Any) -> float:
    """Return the bytes of the matrices that a pass reads whole: all but the embeddings."""
    return float(sum(p.numel() * p.element_size() for name, p in model.named_parameters() if "embedding" not in name))


def precisions(device: torch.device) -> tuple[str, ...]:
    """Return the precisions that are measured on a device."""
    return ("fp32", "bf16") if device.type == "cuda" else ("fp32",)


def made_up(shape: str, device: torch.device) -> Any:
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


def suite(model: Any, workload: Workload, *, few: int = AUTHORS_BATCH, precision: str = "fp32") -> Suite:
    """Return the rows of one teacher.

    Args:
        model: The Hugging Face model in eval mode.
        workload: The texts.
        few: How many texts the slow ways run on; PyTorch operations on a GPU, whose masks the CPU makes, on 8.
        precision: Of every way's weights, ``fp32`` or ``bf16``.
    """
    if precision == "bf16":
        model = copy.deepcopy(model).to(torch.bfloat16)
    fewer, cuda = workload.some(few), workload.device.type == "cuda"
    reads, weights = baselines.authors_length(model), parameter_bytes(model)

    def row(
        name: str,
        set_up: Callable[[], Run],
        *,
        passes: int = workload.passes,
        on: Workload = workload,
        scope: str = "full",
        longest: int | None = None,
        excused: tuple[type[Exception], ...] = (),
    ) -> Row:
        least = flops(on.rows, model.config, longest, passes=passes, scope=scope)
        work = None if least is None else Work(least, weights)
        return Row(name, set_up, len(on.rows), work, precision, passes, excused)

    def engine(name: str, model: Any = model, on: Workload = workload, scope: str = "full", **options: Any) -> Row:
        passes = 1 if options.get("look") else workload.passes
        set_up = partial(baselines.EngineRun, model, on, scope, **options)
        excused = () if scope == "full" else OPTIONAL  # a model that runs as it is has no scope
        return row(f"engine, {name}", set_up, on=on, scope=scope, passes=passes, excused=excused)

    rows = [
        row("deterministic", lambda: baselines.deterministic(model, workload), passes=1),
        row("authors", lambda: baselines.authors(model, fewer), on=fewer, longest=reads),
        row("by hand", lambda: baselines.by_hand(model, workload)),
        row("by hand, no dropout", lambda: baselines.by_hand(baselines.without_dropout(model), workload)),
        row("torch-uncertainty", lambda: baselines.torch_uncertainty(model, workload), excused=PEER),
        row("baal", lambda: baselines.baal(model, workload), excused=PEER),
        engine("first look", look=True),
        engine("full"),
        engine("full, no dropout", baselines.without_dropout(model)),
        *(engine(scope, scope=scope) for scope in scopes(model)),
    ]
    if cuda:
        compiled = lambda: torch.compile(copy.deepcopy(model), dynamic=True)  # noqa: E731
        rows += [
            row("by hand, compiled", lambda: baselines.by_hand(compiled(), workload), excused=PEER),
            engine("full, PyTorch operations", on=workload.some(8), operations=TorchOperations()),  # masks by the CPU
        ]
    return Suite("text", rows, ("authors", "by hand"), settings(model, workload) | {"precision": precision})


def scopes(model: Any) -> tuple[str, ...]:
    """Return the scopes that a model can be measured with beside the full one: those that share a prefix."""
    if not known_family(model):
        return ()
    try:
        cls_pooling = FAMILIES[model.config.model_type](model).cls_pooling
    except (ValueError, AttributeError, NotImplementedError):  # it runs as it is, whatever the scope
        return ()
    return ("last-2", "tail", "head") if cls_pooling else ("last-2", "head")


def settings(model: Any, workload: Workload) -> dict[str, Any]:
    """Say what is measured."""
    least = flops(workload.rows, model.config)
    return {
        "texts": len(workload.rows),
        "tokens": sum(len(row) for row in workload.rows) / len(workload.rows),
        "passes": workload.passes,
        "token_budget": workload.budget,
        "weights": sum(p.numel() for p in model.parameters()),
        "gflop_a_text_and_pass": None if least is None else least / len(workload.rows) / 1e9,
    }
