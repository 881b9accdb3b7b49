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
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from muka_fast.bench import ways
from muka_fast.bench.timing import Row, Run, Suite, Work
from muka_fast.bench.ways import AUTHORS_BATCH, Workload
from muka_fast.uncertainty.building import known_family
from muka_fast.uncertainty.encoders import FAMILIES
from muka_fast.uncertainty.operations import TorchOperations

SHAPES = {"bert-base": (768, 12, 12, 3072), "minilm": (384, 6, 12, 1536)}
"""Width, layers, heads and inner width of models that can be made up."""


def sizes(config: Any) -> tuple[int, int, int] | None:
    """Return width, inner width and layers of a configuration, whatever its family calls them; None if unknown."""
    names = ("hidden_size", "dim"), ("intermediate_size", "hidden_dim"), ("num_hidden_layers", "n_layers")
    width, inner, layers = (
        next((value for name in one if isinstance(value := getattr(config, name, None), int)), None) for one in names
    )
    return None if width is None or inner is None or layers is None else (width, inner, layers)


def flops(rows: Sequence[Any], config: Any, longest: int | None = None) -> float | None:
    """Return the matrix products of one pass over unpadded texts; of the last layer only what the read row needs.

    Args:
        rows: Token ids.
        config: The model's.
        longest: Tokens read of a text, if fewer than it has.

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
    fewer = workload.some(few)
    reads = ways.authors_length(model)

    def row(
        name: str,
        set_up: Callable[[], Run],
        *,
        passes: int = passes,
        on: Workload = workload,
        exact: bool = True,
        precision: str = "fp32",
        peer: bool = False,
        longest: int | None = None,
    ) -> Row:
        least = flops(on.rows, model.config, longest)
        work = Work(least * passes) if exact and least is not None else None
        return Row(name, set_up, len(on.rows), work, precision, passes, peer)

    rows = [
        row("deterministic", lambda: ways.deterministic(model, workload), passes=1),
        row("authors", lambda: ways.authors(model, fewer), on=fewer, longest=reads),
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
            for scope in scopes(model)
        ),
    ]
    if device.type == "cuda":
        half = copy.deepcopy(model).to(torch.bfloat16)
        compiled = "by hand, bf16, compiled"
        rows += [
            row(
                "authors, bf16",
                lambda: ways.autocast(ways.authors(model, fewer), device),
                on=fewer,
                precision="bf16",
                longest=reads,
            ),
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
            *(
                row(
                    f"engine, {scope}, bf16", partial(ways.engine, half, workload, scope), exact=False, precision="bf16"
                )
                for scope in scopes(model)[1:2]
            ),
            row(
                "engine, full, PyTorch operations",
                lambda: ways.engine(model, fewer, operations=TorchOperations()),
                on=fewer,
            ),
        ]
    return Suite("text", rows, ("authors", "by hand"), settings(model, workload))


def scopes(model: Any) -> tuple[str, ...]:
    """Return the scopes that a model can be measured with beside the full one: those that share a prefix."""
    if not known_family(model):
        return ()
    try:
        reads_first = FAMILIES[model.config.model_type](model).reads_first
    except (ValueError, AttributeError, NotImplementedError):  # it runs as it is, whatever the scope
        return ()
    return ("last-2", "tail", "head") if reads_first else ("last-2", "head")


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
