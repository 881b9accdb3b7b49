"""Tokenization: texts to token ids, and token ids to padded tensors, the same for every model of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import Padding
from muka_fast.data.corpus import Corpus
from muka_fast.errors import TextError

CHUNK = 8192
"""Texts per call of the tokenizer."""

TokenizedText = dict[str, np.ndarray]
"""One text's tokenizer outputs, such as ``input_ids``, without padding."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of N texts, without padding.

    Attributes:
        encodings: One entry per text.
        lengths: Tokens of each text, int64, (N,).
        untruncated_lengths: Tokens of each text before truncation, int64, (N,).
    """

    encodings: list[TokenizedText]
    lengths: np.ndarray
    untruncated_lengths: np.ndarray

    def take(self, indices: np.ndarray) -> TokenizedTexts:
        """Return the texts at ``indices``."""
        return TokenizedTexts(
            [self.encodings[i] for i in indices], self.lengths[indices], self.untruncated_lengths[indices]
        )


def tokenize(tokenizer: Any, corpus: Corpus, max_length: int) -> TokenizedTexts:
    """Tokenize texts (and their pairs) and truncate each one to ``max_length`` tokens.

    Args:
        tokenizer: A transformers tokenizer, fast or slow.
        corpus: N texts.
        max_length: Tokens of a text at most, special tokens included.

    Raises:
        TextError: If a text has no tokens.
    """
    encodings: list[TokenizedText] = []
    untruncated_lengths: list[int] = []

    def arguments(indices: Sequence[int]) -> tuple[list[str], ...]:
        texts = [corpus.texts[i] for i in indices]
        return (texts,) if corpus.pairs is None else (texts, [corpus.pairs[i] for i in indices])

    for start in range(0, len(corpus), CHUNK):
        indices = range(start, min(start + CHUNK, len(corpus)))
        whole = tokenizer(*arguments(indices), truncation=False, verbose=False)
        for offset, index in enumerate(indices):
            encoding = {key: whole[key][offset] for key in whole}
            length = len(encoding["input_ids"])
            if not length:
                raise TextError("a text has no tokens", index=index, where=corpus.location(index), hint="leave it out")
            if length > max_length:
                dropped = _overflow(whole, offset, max_length, tokenizer.truncation_side)
                if dropped is None:
                    truncated = tokenizer(*arguments([index]), truncation=True, max_length=max_length)
                    encoding = {key: truncated[key][0] for key in truncated}
                else:
                    encoding = {
                        key: values[: dropped.start] + values[dropped.stop :] for key, values in encoding.items()
                    }
            untruncated_lengths.append(length)
            encodings.append({key: np.array(values, dtype=np.int32) for key, values in encoding.items()})
    return TokenizedTexts(
        encodings,
        np.array([len(encoding["input_ids"]) for encoding in encodings], dtype=np.int64),
        np.array(untruncated_lengths, dtype=np.int64),
    )


def _overflow(whole: Any, index: int, max_length: int, side: str) -> slice | None:
    """Return the tokens that truncation removes from a text, or None if only its tokenizer can truncate it.

    Special tokens around the text stay. Pairs, and texts of tokenizers written in Python, are left to the tokenizer:
    its rules for them differ.
    """
    sequence_ids = whole.sequence_ids(index) if whole.is_fast else []
    if set(sequence_ids) - {None} != {0}:
        return None
    own, surplus = sequence_ids.count(0), len(sequence_ids) - max_length
    first = sequence_ids.index(0)
    if surplus >= own:
        return None
    start = first if side == "left" else first + own - surplus
    return slice(start, start + surplus)


def pad_batch(padding: Padding, encodings: Sequence[TokenizedText], device: torch.device) -> dict[str, torch.Tensor]:
    """Pad tokenized texts to the longest of them: the inputs of a model, (B, longest) each, on its device."""
    return {name: torch.from_numpy(values).to(device) for name, values in padding.pad(encodings).items()}
