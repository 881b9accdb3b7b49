"""Suite ``scoring``: K dropout passes by the engine, and as others run them.

``authors`` is the published code's way (K eager passes of ``model.train()`` over texts padded to 128, in batches of
16); ``by hand`` the best a user gets without new code (K in the batch dimension, sorted lengths, dynamic padding, SDPA,
inference mode); torch-uncertainty's and baal's wrappers, made to take Hugging Face models, run as ``by hand`` does
(they leave attention dropout off, which saves them work); ``deterministic`` is one Hugging Face pass. Every way starts
from token ids and makes its own batches. On a GPU each also runs under bf16 autocast, ``by hand`` under
``torch.compile``.

The floor: matrix products of the passes over the unpadded texts, the last layer's for the row that is read only.

Needs torch, transformers and numpy alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from muka_fast.bench import ways
from muka_fast.bench.timing import Row, Run, Suite, Work
from muka_fast.bench.ways import AUTHORS_BATCH, Workload
from muka_fast.uncertainty.operations import TorchOperations

SHAPES = {"bert-base": (768, 12, 12, 3072), "minilm": (384, 6, 12, 1536)}
"""Width, layers, heads and inner width of models that can be made up."""


def sizes(config: Any) -> tuple[int, int, int]:
    """Return width, inner width and layers of a configuration, whatever its family calls them."""
    return (
        getattr(config, "hidden_size", None) or config.dim,
        getattr(config, "intermediate_size", None) or config.hidden_dim,
        getattr(config, "num_hidden_layers", None) or config.n_layers,
    )


def flops(workload: Workload, config: Any) -> float:
    """Matrix products of one pass over the unpadded texts; of the last layer only what the read row needs."""
    width, inner, layers = sizes(config)
    total = 0.0
    for row in workload.rows:
        n = len(row)
        layer = 2 * n * (4 * width * width + 2 * width * inner) + 4 * n * n * width
        last = 2 * n * 2 * width * width + 2 * (2 * width * width + 2 * width * inner) + 4 * n * width
        total += (layers - 1) * layer + last
    return total


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


def suite(model: Any, workload: Workload, *, few: int = AUTHORS_BATCH) -> Suite:
    """Return the rows of one teacher.

    Args:
        model: The Hugging Face model in eval mode.
        workload: The texts.
        few: How many texts the slowest ways run on.
    """
    passes, device = workload.passes, workload.device
    fewer = Workload(workload.rows[:: max(1, len(workload.rows) // few)], workload.budget, device, passes)

    def row(
        name: str,
        set_up: Callable[[], Run],
        *,
        passes: int = passes,
        on: Workload = workload,
        exact: bool = True,
        precision: str = "fp32",
        peer: bool = False,
    ) -> Row:
        work = Work(flops(on, model.config) * passes) if exact else None
        return Row(name, set_up, len(on.rows), work, precision, passes, peer)

    rows = [
        row("deterministic", lambda: ways.deterministic(model, workload), passes=1),
        row("authors", lambda: ways.authors(model, fewer), on=fewer),
        row("by hand", lambda: ways.by_hand(model, workload)),
        row("by hand, no dropout", lambda: ways.by_hand(ways.without_dropout(model), workload)),
        row("torch-uncertainty", lambda: ways.torch_uncertainty(model, workload), peer=True),
        row("baal", lambda: ways.baal(model, workload), peer=True),
        row("engine, first look", lambda: ways.engine_look(model, workload), passes=1),
        row("engine, full", lambda: ways.engine(model, workload)),
        row("engine, full, no dropout", lambda: ways.engine(ways.without_dropout(model), workload)),
        # Below these scopes the prefix is shared: less than K passes' products are needed.
        *(
            row(f"engine, {scope}", partial(ways.engine, model, workload, scope), exact=False)
            for scope in ("last-2", "tail", "head")
        ),
    ]
    if device.type == "cuda":
        half = copy.deepcopy(model).to(torch.bfloat16)
        compiled = "by hand, bf16, compiled"
        rows += [
            row("authors, bf16", lambda: ways.autocast(ways.authors(model, fewer), device), on=fewer, precision="bf16"),
            row("by hand, bf16", lambda: ways.autocast(ways.by_hand(model, workload), device), precision="bf16"),
            row(
                compiled,
                lambda: ways.autocast(
                    ways.by_hand(torch.compile(copy.deepcopy(model), dynamic=True), workload), device
                ),
                precision="bf16",
                peer=True,
            ),
            row(
                "torch-uncertainty, bf16",
                lambda: ways.autocast(ways.torch_uncertainty(model, workload), device),
                precision="bf16",
                peer=True,
            ),
            row("baal, bf16", lambda: ways.autocast(ways.baal(model, workload), device), precision="bf16", peer=True),
            row("engine, full, bf16", lambda: ways.engine(half, workload), precision="bf16"),
            row("engine, tail, bf16", lambda: ways.engine(half, workload, "tail"), exact=False, precision="bf16"),
            row(
                "engine, full, PyTorch operations",
                lambda: ways.engine(model, fewer, operations=TorchOperations()),
                on=fewer,
            ),
        ]
    return Suite("text", rows, ("authors", "by hand"), settings(model, workload))


def settings(model: Any, workload: Workload) -> dict[str, Any]:
    """Say what is measured."""
    return {
        "texts": len(workload.rows),
        "tokens": sum(len(row) for row in workload.rows) / len(workload.rows),
        "passes": workload.passes,
        "token_budget": workload.budget,
        "weights": sum(p.numel() for p in model.parameters()),
        "gflop_a_text_and_pass": flops(workload, model.config) / len(workload.rows) / 1e9,
    }
