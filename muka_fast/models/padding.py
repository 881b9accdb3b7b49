"""The one decision on padding: each text gets the logits from a padded batch that the model gives it alone.

What fills a batch follows from the model: its own padding token, which heads of decoders and position embeddings look
for in the token ids. The tokenizer may name another one, or none. Whether the model then ignores the padding is
measured on a few texts. The side of the tokenizer is tried first, then the other one. A model that reads padding on
both sides gets batches of texts of equal length.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from muka_fast.data.batching import Padding
from muka_fast.uncertainty.dropout_sites import preserved_modes
from muka_fast.uncertainty.factory import TOLERANCE
from muka_fast.uncertainty.text_config import end_token, text_config, vocabulary_size

_TEXTS = (
    "1 a the of and to in is on for it with as at by this that 2 from we or an be not you are 3 all new more one",
    "1 a the of and to in is",
    "1 a",
)
_FAILURES = (ValueError, RuntimeError, IndexError, TypeError)
NO_PADDING = -1
"""Padding token id that no token of a text equals: the last token of a row is the last of its text."""

Outputs = Callable[[Any, Mapping[str, Tensor], Tensor], Tensor]
"""Maps a model, a batch and the places of its tokens, (B, longest) bool, to one row for each text."""


def logits(model: Any, batch: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    """Return the logits of a batch, (B, C)."""
    return model(**batch).logits


def match_inputs(model: Any, tokenizer: Any) -> tuple[str, ...]:
    """Make the tokenizer return what ``forward`` takes, and always an attention mask if it takes one.

    Returns:
        The names of the model's inputs.
    """
    parameters = inspect.signature(model.forward).parameters
    open_ended = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())
    # forward(*args, **kwargs) hands everything on to another model.
    takes_all = open_ended and "input_ids" not in parameters
    known = [*tokenizer.model_input_names, *({"attention_mask"} - {*tokenizer.model_input_names})]
    names = [name for name in known if takes_all or name in parameters]
    types = getattr(text_config(model.config), "type_vocab_size", 0)
    if "token_type_ids" in names and types == 1:  # the types of a second text would have no embedding
        names.remove("token_type_ids")
    tokenizer.model_input_names = names
    return tuple(names)


def padding_token(config: Any) -> int | None:
    """Return the padding token id of a configuration, or None if it has none that is a token."""
    found, size = getattr(text_config(config), "pad_token_id", None), vocabulary_size(config)
    is_token = isinstance(found, int) and found >= 0 and (size is None or found < size)
    return found if is_token else None


def set_padding_token(model: Any, tokenizer: Any) -> None:
    """Give a model that is to be trained a padding token if it has none: the tokenizer's, or its end of a text."""
    if padding_token(model.config) is None:
        text_config(model.config).pad_token_id = _named(tokenizer)


def _named(tokenizer: Any) -> int:
    names = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    return next((token for token in names if token is not None), 0)


def _encodings(tokenizer: Any, limit: int) -> list[dict[str, np.ndarray]]:
    """Return the token ids of a few texts of different lengths."""
    rows = [tokenizer(text, truncation=True, max_length=limit, verbose=False) for text in _TEXTS]
    found = [{name: np.array(values, dtype=np.int64) for name, values in row.items()} for row in rows]
    return [row for row in found if len(row["input_ids"])]


def _with_token(row: dict[str, np.ndarray], place: int, token: int) -> dict[str, np.ndarray]:
    ids = row["input_ids"].copy()
    ids[place] = token
    return row | {"input_ids": ids}


class _Probe:
    """Runs a model on a few texts, alone and together."""

    def __init__(self, model: Any, outputs: Outputs) -> None:
        self._model, self._outputs = model, outputs
        self._tolerance = TOLERANCE.get(model.dtype, 1e-1)

    def run(self, padding: Padding, rows: Sequence[dict[str, np.ndarray]]) -> Tensor | None:
        """Return the outputs of a batch, or None if the model does not run it."""
        batch = {name: torch.from_numpy(array).to(self._model.device) for name, array in padding.pad(rows).items()}
        mask = torch.from_numpy(padding.mask([len(row["input_ids"]) for row in rows])).to(self._model.device)
        try:
            return self._outputs(self._model, batch, mask).float().cpu()
        except _FAILURES:
            return None

    def alone(self, padding: Padding, rows: Sequence[dict[str, np.ndarray]]) -> list[Tensor | None]:
        """Return the outputs of each text by itself."""
        return [self.run(padding, [row]) for row in rows]

    def agrees(
        self, padding: Padding, rows: Sequence[dict[str, np.ndarray]], expected: Sequence[Tensor | None]
    ) -> bool:
        """Return whether the texts of a batch have the outputs that they have alone, of those that run."""
        runs = [(row, one) for row, one in zip(rows, expected, strict=True) if one is not None]
        if not runs:
            return True
        wanted = torch.cat([one for _, one in runs])
        found = self.run(padding, [row for row, _ in runs])
        return found is not None and bool(
            (found - wanted).abs().max() <= self._tolerance * wanted.abs().max().clamp_min(1)
        )


def choose_padding(model: Any, tokenizer: Any, max_length: int, outputs: Outputs = logits) -> Padding:
    """Return how texts are padded for a model; ``model.config.pad_token_id`` becomes the token that is used.

    Args:
        model: A model with its weights.
        tokenizer: Its tokenizer.
        max_length: Maximum length of a text in tokens.
        outputs: What is compared: the logits, or another output.
    """
    config = text_config(model.config)
    names = match_inputs(model, tokenizer)
    own = padding_token(model.config)
    size = vocabulary_size(model.config)
    spare = size is not None and len(tokenizer) < size  # a token that is in no text
    token = own if own is not None else len(tokenizer) if spare else _named(tokenizer)
    fills = {"input_ids": token, "token_type_ids": tokenizer.pad_token_type_id}
    padding = Padding({name: fills.get(name, 0) for name in names}, tokenizer.padding_side)
    probe, rows = _Probe(model, outputs), _encodings(tokenizer, max_length)
    with preserved_modes(model), torch.no_grad():
        model.eval()
        if own is None and not spare and rows:
            rows.append(_with_token(rows[-1], -1, token))  # the token of the padding as the last of a text
        expected = probe.alone(padding, rows)
        config.pad_token_id = token
        padding = replace(padding, counted_token=_counted_token(probe, padding, end_token(config), rows))
        for side in dict.fromkeys((padding.side, "right", "left")):
            tried = replace(padding, side=side)
            if probe.agrees(tried, rows, expected):
                break
        else:
            tried = replace(padding, side="right", mixed_lengths=False)
            config.pad_token_id = NO_PADDING if own is None else own
    _name_padding_token(tokenizer, token)
    return tried


def _counted_token(
    probe: _Probe, padding: Padding, end: int | None, rows: Sequence[dict[str, np.ndarray]]
) -> int | None:
    """Return the end token if the model runs no batch whose texts hold it unequally often."""
    if end is None or not rows or len(rows[0]["input_ids"]) < 3:
        return None
    pair = [rows[0], _with_token(rows[0], 1, end)]
    runs_alone = all(one is not None for one in probe.alone(padding, pair))
    return end if runs_alone and probe.run(padding, pair) is None else None


def _name_padding_token(tokenizer: Any, token: int) -> None:
    """Name the token in the tokenizer too, if it is one of its special tokens, for who reads it with transformers."""
    if tokenizer.pad_token_id != token:
        special = {index: one.content for index, one in tokenizer.added_tokens_decoder.items() if one.special}
        if token in special:
            tokenizer.pad_token = special[token]
