"""Sentence encoders in the layout of sentence-transformers, in memory: texts to embeddings, without padding.

Texts of equal length share a batch, so pooling reads no padding and each text is pooled as it would be alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from muka_fast.data.batching import Padding, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.errors import ModelError, first_line
from muka_fast.models.checkpoint import Checkpoint
from muka_fast.models.loading import (
    build_skeleton,
    check_vocabulary,
    load_weights,
    read_config,
    read_tokenizer,
    token_limit,
)
from muka_fast.models.padding import match_inputs
from muka_fast.models.sentence_layout import IDENTITY, TANH, Dense, EncoderLayout
from muka_fast.models.unusable import EXPORT_HINT

Layer = Callable[[Tensor], Tensor]
"""Maps embeddings, (B, D), to others."""
_POOLING: dict[str, Callable[[Tensor], Tensor]] = {
    "cls": lambda states: states[:, 0],
    "max": lambda states: states.amax(1),
    "mean": lambda states: states.mean(1),
    "mean_sqrt_len_tokens": lambda states: states.sum(1) / math.sqrt(states.shape[1]),
    "weightedmean": lambda states: _weighted_mean(states),
    "lasttoken": lambda states: states[:, -1],
}
"""Maps the last hidden states of texts without padding, (B, length, width), to (B, width)."""
_ACTIVATIONS: dict[str, Layer] = {TANH: torch.tanh, IDENTITY: lambda values: values}


def read_encoder_tokenizer(checkpoint: Checkpoint, layout: EncoderLayout) -> Any:
    """Load the tokenizer of an encoder, with its maximum length.

    Raises:
        ModelError: If it is missing or damaged, or texts in lower case need one that is not written in Python.
    """
    tokenizer = read_tokenizer(checkpoint)
    if layout.max_length is not None:
        tokenizer.model_max_length = layout.max_length
    if layout.lowercase:
        from tokenizers.normalizers import Lowercase, Normalizer, Sequence

        if not tokenizer.is_fast:
            what = "do_lower_case with a tokenizer that is written in Python"
            raise ModelError(what, where=checkpoint.where, hint="save it with tokenizer.json")
        backend = tokenizer.backend_tokenizer
        steps: list[Normalizer] = [Lowercase(), *([backend.normalizer] if backend.normalizer is not None else [])]
        backend.normalizer = Sequence(steps)
    return tokenizer


def encoder_limit(checkpoint: Checkpoint, layout: EncoderLayout, max_length: int | None) -> int:
    """Return the maximum length in tokens: the smallest of the model's, the tokenizer's and the recipe's.

    Raises:
        ModelError: If configuration or tokenizer cannot be used, or the model has a decoder.
    """
    config = read_config(checkpoint)
    if getattr(config, "is_encoder_decoder", False):
        raise ModelError("an encoder with a decoder, which is not loaded", where=checkpoint.where, hint=EXPORT_HINT)
    tokenizer = read_encoder_tokenizer(checkpoint, layout)
    check_vocabulary(tokenizer, config, checkpoint.where)
    return token_limit(build_skeleton(config, checkpoint, headless=True), tokenizer, max_length)


@dataclass(frozen=True)
class SentenceEncoder:
    """A sentence encoder in memory.

    Attributes:
        model: The transformer, in eval mode on its device.
        tokenizer: Its tokenizer.
        padding: Batches of equal length, so that no text is padded and each is pooled as it would be alone.
        max_length: Tokens of a text at most.
        pooling: Modes.
        layers: What follows the pooling, (B, width) to (B, width).
    """

    model: Any
    tokenizer: Any
    padding: Padding
    max_length: int
    pooling: tuple[str, ...]
    layers: tuple[Layer, ...]

    @classmethod
    def load(
        cls, checkpoint: Checkpoint, layout: EncoderLayout, max_length: int, device: torch.device
    ) -> SentenceEncoder:
        """Load an encoder in fp32.

        Raises:
            ModelError: If weights are damaged or missing.
        """
        model, missing = load_weights(checkpoint, read_config(checkpoint), headless=True)
        lost = [name for name in missing if "pooler" not in name]  # no embedding reads the pooler
        if lost:
            raise ModelError(
                f"{len(lost)} weight(s) of the encoder are not in the folder, for example {lost[0]}",
                where=checkpoint.where,
                hint="check that config.json and the weights belong together",
            )
        tokenizer = read_encoder_tokenizer(checkpoint, layout)
        padding = Padding(dict.fromkeys(match_inputs(model, tokenizer), 0), mixed_lengths=False)
        layers = [normalize if files is None else _load_dense(files, device) for files in layout.layers]
        return cls(model.to(device).eval(), tokenizer, padding, max_length, layout.pooling, tuple(layers))

    @torch.inference_mode()
    def encode(self, corpus: Corpus, budget: int) -> tuple[Tensor, np.ndarray]:
        """Return the embeddings of N texts, (N, D) fp32 on the device, and their tokens before truncation, (N,).

        Args:
            corpus: The texts.
            budget: Tokens of a batch at most.

        Raises:
            ModelError: If the layers do not fit each other.
        """
        encoded = tokenize(self.tokenizer, corpus, self.max_length)
        batches = self.padding.split(token_batches(encoded.lengths, corpus.ids, budget), encoded.encodings)
        device = self.model.device
        parts = [self._embed(pad_batch(self.padding, [encoded.encodings[i] for i in rows], device)) for rows in batches]
        order = torch.cat([torch.from_numpy(rows) for rows in batches]).argsort()
        return torch.cat(parts)[order.to(device)], encoded.untruncated_lengths

    def _embed(self, batch: dict[str, Tensor]) -> Tensor:
        states = self.model(**batch).last_hidden_state.float()
        embeddings = torch.cat([_POOLING[mode](states) for mode in self.pooling], dim=-1)
        for layer in self.layers:
            embeddings = layer(embeddings)
        return embeddings


def normalize(embeddings: Tensor) -> Tensor:
    """Divide embeddings, (N, D), by their Euclidean norms."""
    return functional.normalize(embeddings, p=2, dim=-1)


def _weighted_mean(states: Tensor) -> Tensor:
    """Return the mean of hidden states, (B, length, width), weighted by their positions from 1 on."""
    weights = torch.arange(1, states.shape[1] + 1, device=states.device, dtype=states.dtype)[:, None]
    return (states * weights).sum(1) / weights.sum()


def _load_dense(files: Dense, device: torch.device) -> Layer:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = files.folder / "model.safetensors"
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(f"damaged weights: {first_line(error)}", where=str(path), hint="copy the file again") from None
    if "linear.weight" not in weights or set(weights) - {"linear.weight", "linear.bias"}:
        what = f"the weights are {', '.join(sorted(weights))}, not those of a linear layer"
        raise ModelError(what, where=str(path), hint="copy the file again")
    weight, bias = weights["linear.weight"].float().to(device), weights.get("linear.bias")
    bias = None if bias is None else bias.float().to(device)
    activation = _ACTIVATIONS[files.activation]
    return lambda values: activation(functional.linear(values, weight, bias))
