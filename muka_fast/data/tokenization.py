"""Texts to token ids and padded tensors, as every model of a run reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.data.corpus import Corpus
from muka_fast.errors import CorpusError

CHUNK = 8192

TokenizedText = dict[str, np.ndarray]
"""One text's tokenizer outputs, such as ``input_ids``, without padding."""


@dataclass(frozen=True)
class Encoded:
    """Token ids of N texts, without padding.

    Attributes:
        rows: One a text.
        lengths: Tokens of each text, (N,).
        tokens: The same before any cut, (N,).
    """

    rows: list[TokenizedText]
    lengths: np.ndarray
    tokens: np.ndarray

    def take(self, indices: np.ndarray) -> Encoded:
        """Return the rows at ``indices``."""
        return Encoded([self.rows[i] for i in indices], self.lengths[indices], self.tokens[indices])


def encode(tokenizer: Any, corpus: Corpus, max_length: int) -> Encoded:
    """Tokenize texts (and their pairs), cutting those above ``max_length`` tokens."""
    rows: list[TokenizedText] = []
    tokens: list[int] = []

    def arguments(indices: Sequence[int]) -> tuple[list[str], ...]:
        texts = [corpus.texts[i] for i in indices]
        return (texts,) if corpus.pairs is None else (texts, [corpus.pairs[i] for i in indices])

    for start in range(0, len(corpus), CHUNK):
        indices = range(start, min(start + CHUNK, len(corpus)))
        whole = tokenizer(*arguments(indices), truncation=False, verbose=False)
        for offset, index in enumerate(indices):
            row = {key: whole[key][offset] for key in whole}
            tokens.append(len(row["input_ids"]))
            if not tokens[-1]:
                raise CorpusError(
                    "a text has no tokens", where=f"text {corpus.texts[index][:40]!r}", hint="leave it out"
                )
            if tokens[-1] > max_length:
                gone = _surplus(whole, offset, max_length, tokenizer.truncation_side)
                if gone is None:
                    cut = tokenizer(*arguments([index]), truncation=True, max_length=max_length)
                    row = {key: cut[key][0] for key in cut}
                else:
                    row = {key: values[: gone.start] + values[gone.stop :] for key, values in row.items()}
            rows.append({key: np.array(values, dtype=np.int32) for key, values in row.items()})
    lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
    return Encoded(rows, lengths, np.array(tokens, dtype=np.int64))


def _surplus(whole: Any, index: int, max_length: int, side: str) -> slice | None:
    """Return which tokens of a text its tokenizer would cut off, or None where only the tokenizer knows.

    Special tokens around the text stay. How pairs are cut, and by tokenizers in Python, is the tokenizer's own matter.
    """
    numbers = whole.sequence_ids(index) if whole.is_fast else []
    if set(numbers) - {None} != {0}:
        return None
    own, surplus = numbers.count(0), len(numbers) - max_length
    first = numbers.index(0)
    if surplus >= own:
        return None
    start = first if side == "left" else first + own - surplus
    return slice(start, start + surplus)


def pad_batch(tokenizer: Any, rows: Sequence[TokenizedText], device: torch.device) -> dict[str, torch.Tensor]:
    """Pad encoded texts to the longest of them."""
    tokenizer.deprecation_warnings["Asking-to-pad-a-fast-tokenizer"] = True
    batch = tokenizer.pad({key: [row[key].tolist() for row in rows] for key in rows[0]}, return_tensors="pt")
    return {key: value.to(device) for key, value in batch.items()}
