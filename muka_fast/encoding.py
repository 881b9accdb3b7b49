"""Texts to token ids and padded tensors, as every model of a run reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.corpus import Corpus


@dataclass(frozen=True)
class Encoded:
    """Token ids of some texts, without padding.

    Attributes:
        rows: For each text the tokenizer's outputs, such as ``input_ids`` and ``attention_mask``.
        lengths: Tokens of each text, (N,).
        tokens: The same before any cut, (N,).
    """

    rows: list[dict[str, list[int]]]
    lengths: np.ndarray
    tokens: np.ndarray


def encode(tokenizer: Any, corpus: Corpus, max_length: int) -> Encoded:
    """Tokenize texts (and their pairs), cutting those above ``max_length`` tokens."""
    arguments = (list(corpus.texts),) if corpus.pairs is None else (list(corpus.texts), list(corpus.pairs))
    whole = tokenizer(*arguments, truncation=False, verbose=False)
    rows = [{key: whole[key][i] for key in whole} for i in range(len(corpus))]
    tokens = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
    for index in np.flatnonzero(tokens > max_length):
        text = (corpus.texts[index],) if corpus.pairs is None else (corpus.texts[index], corpus.pairs[index])
        cut = tokenizer(*text, truncation=True, max_length=max_length)
        rows[index] = {key: cut[key] for key in cut}
    return Encoded(rows, np.array([len(row["input_ids"]) for row in rows], dtype=np.int64), tokens)


def padded(tokenizer: Any, rows: Sequence[dict[str, list[int]]], device: torch.device) -> dict[str, torch.Tensor]:
    """Pad encoded texts to the longest of them."""
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    batch = tokenizer.pad({key: [row[key] for row in rows] for key in rows[0]}, return_tensors="pt")
    return {key: value.to(device) for key, value in batch.items()}
