"""Tiny sentence encoders and SetFit models in their layout on disk, made without sentence-transformers and setfit."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import skops.io
import torch
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from transformers import AutoModel

from tests.helpers.models import make_config, make_tokenizer

WIDTH = 32
DENSE = 8
PLACES = {"Transformer": "", "Pooling": "1_Pooling"}


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def make_encoder(
    folder: Path, pooling: Any = "mean", layers: Sequence[str] = (), *, package: str = "models", seed: int = 0
) -> Path:
    """Save an encoder of two layers; ``layers`` are Normalize or Dense, which comes first."""
    torch.manual_seed(seed)
    model = AutoModel.from_config(make_config("bert", ("a", "b"), hidden_size=WIDTH, initializer_range=0.2))
    model.save_pretrained(folder)
    make_tokenizer(folder)
    kinds = ["Transformer", "Pooling", *layers]
    places = {kind: PLACES.get(kind, f"{index}_{kind}") for index, kind in enumerate(kinds)}
    write(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": places[kind], "type": f"sentence_transformers.{package}.{kind}"}
            for i, kind in enumerate(kinds)
        ],
    )
    write(folder / "1_Pooling" / "config.json", {"embedding_dimension": WIDTH, "pooling_mode": pooling})
    if "Dense" in layers:
        width = WIDTH * (1 if isinstance(pooling, str) else len(pooling))
        write(
            folder / places["Dense"] / "config.json",
            {
                "in_features": width,
                "out_features": DENSE,
                "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh",
            },
        )
        weights = {"linear.weight": torch.randn(DENSE, width) / 4, "linear.bias": torch.randn(DENSE)}
        save_file(weights, folder / places["Dense"] / "model.safetensors")
    return folder


def make_head(classes: Sequence[Any], seed: int = 0, width: int = WIDTH) -> LogisticRegression:
    """Fit a classifier of random embeddings."""
    embeddings = np.random.default_rng(seed).normal(size=(20 * len(classes), width)).astype(np.float32)
    return LogisticRegression().fit(embeddings, np.array(classes)[np.arange(len(embeddings)) % len(classes)])


def make_setfit(
    folder: Path,
    labels: Sequence[str] | None = ("Bank", "Travel"),
    *,
    head: Any = None,
    normalize: bool = False,
    **encoder: Any,
) -> Path:
    """Save an encoder with a head by skops; default: one over the numbers of the labels."""
    make_encoder(folder, **encoder)
    write(folder / "config_setfit.json", {"labels": labels, "normalize_embeddings": normalize})
    skops.io.dump(make_head(range(len(labels or "ab"))) if head is None else head, folder / "model_head.skops")
    return folder
