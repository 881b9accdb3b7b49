"""Tokenization: texts to token ids, and token ids to padded tensors, the same for every model of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import Padding
from muka_fast.data.corpus import Corpus
from muka_fast.data.encodings import Encodings, EncodingWriter, TokenizedText
from muka_fast.errors import TextError
from muka_fast.runtime.mapped import mapped_chunks

CHUNK = 8192
"""Texts per call of the tokenizer."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of N texts, without padding.

    Attributes:
        encodings: One entry per text.
        lengths: Tokens of each text, int64, (N,).
        untruncated_lengths: Tokens of each text before truncation, int64, (N,).
    """

    encodings: Encodings
    lengths: np.ndarray
    untruncated_lengths: np.ndarray

    def take(self, indices: np.ndarray) -> TokenizedTexts:
        """Return the texts at ``indices``."""
        return TokenizedTexts(self.encodings.take(indices), self.lengths[indices], self.untruncated_lengths[indices])


def tokenize(tokenizer: Any, corpus: Corpus, max_length: int, scratch: Path | None = None) -> TokenizedTexts:
    """Tokenize texts (and their pairs) and truncate each one to ``max_length`` tokens.

    Args:
        tokenizer: A transformers tokenizer, fast or slow.
        corpus: N texts.
        max_length: Tokens of a text at most, special tokens included.
        scratch: Folder of files without a name that hold the token ids; default: they are in memory.

    Raises:
        TextError: If a text has no tokens.
    """
    encodings, untruncated_lengths = EncodingWriter(scratch), [np.zeros(0, dtype=np.int64)]

    def arguments(indices: Sequence[int]) -> tuple[list[str], ...]:
        texts = [corpus.texts[i] for i in indices]
        return (texts,) if corpus.pairs is None else (texts, [corpus.pairs[i] for i in indices])

    for rows in mapped_chunks(len(corpus), CHUNK):
        indices = range(rows.start, min(rows.stop, len(corpus)))
        whole = tokenizer(*arguments(indices), truncation=False, verbose=False)
        outputs: dict[str, list[Any]] = {key: list(whole[key]) for key in whole}
        lengths = np.array([len(ids) for ids in outputs["input_ids"]], dtype=np.int64)
        if not lengths.all():
            index = rows.start + int(lengths.argmin())
            raise TextError("a text has no tokens", index=index, where=corpus.location(index), hint="leave it out")
        for offset in np.flatnonzero(lengths > max_length).tolist():
            dropped = _overflow(whole, offset, max_length, tokenizer.truncation_side)
            if dropped is None:
                truncated = tokenizer(*arguments([rows.start + offset]), truncation=True, max_length=max_length)
                kept = {key: truncated[key][0] for key in truncated}
            else:
                kept = {key: own[offset][: dropped.start] + own[offset][dropped.stop :] for key, own in outputs.items()}
            for key, own in outputs.items():
                own[offset] = kept[key]
        untruncated_lengths.append(lengths)
        encodings.append(outputs)
    found = encodings.finish()
    return TokenizedTexts(found, found.lengths, np.concatenate(untruncated_lengths))


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
