"""Texts and class names as vectors: means of the last hidden states of a pretrained encoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModel

from muka_fast.config.specs import StudentSpec
from muka_fast.data.batching import TOKEN_BUDGET, Padding, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.near_names import class_name_text
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.models.loading import read_config, read_tokenizer, token_limit
from muka_fast.models.padding import choose_padding, set_padding_token
from muka_fast.models.student import find_tokenizer, find_weights
from muka_fast.selection.neighbours import unit_rows


@dataclass(frozen=True)
class TextEncoder:
    """A pretrained encoder without a head.

    Attributes:
        model: In eval mode, on its device.
        tokenizer: Its tokenizer.
        max_length: Tokens read of a text.
    """

    model: Any
    tokenizer: Any
    max_length: int

    @classmethod
    def load(cls, spec: StudentSpec, device: torch.device) -> TextEncoder:
        """Load the encoder of a pretrained model.

        Raises:
            ModelError: If its weights or its tokenizer cannot be used.
        """
        checkpoint = find_weights(spec, "encoder")
        tokenizer = read_tokenizer(find_tokenizer(spec, "encoder"))
        config = read_config(checkpoint)
        model = AutoModel.from_pretrained(
            checkpoint.folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=spec.trust_remote_code,
        )
        set_padding_token(model, tokenizer)
        return cls(model.to(device).eval(), tokenizer, token_limit(model, tokenizer, spec.max_length))

    @cached_property
    def padding(self) -> Padding:
        """How texts are padded; see :func:`muka_fast.models.padding.choose_padding`."""
        return choose_padding(self.model, self.tokenizer, self.max_length, mean_state)

    @torch.inference_mode()
    def encode(self, corpus: Corpus, progress: Callable[[float], None] = lambda _: None) -> np.ndarray:
        """Return the mean of each text's last hidden states, (N, D) fp32.

        Args:
            corpus: N texts.
            progress: Receives the number of texts that each batch completed.
        """
        padding = self.padding  # before the texts are tokenized: it decides which inputs the model gets
        encoded = tokenize(self.tokenizer, corpus, self.max_length)
        device = self.model.device
        result: np.ndarray | None = None
        batches = token_batches(encoded.lengths, corpus.ids, TOKEN_BUDGET[device.type])
        for indices in padding.split(batches, encoded.encodings):
            batch = pad_batch(padding, [encoded.encodings[i] for i in indices], device)
            mask = torch.from_numpy(padding.mask(encoded.lengths[indices].tolist())).to(device)
            means = mean_state(self.model, batch, mask).cpu().numpy()
            if result is None:
                result = np.empty((len(corpus), means.shape[1]), dtype=np.float32)
            result[indices] = means
            progress(len(indices))
        return np.zeros((0, 1), dtype=np.float32) if result is None else result

    def encode_names(self, names: Sequence[str]) -> np.ndarray:
        """Return the vectors of class names, (C, D) fp32."""
        words = tuple(class_name_text(name) for name in names)
        return self.encode(Corpus(words, None, np.arange(len(words), dtype=np.uint64)))


def mean_state(model: Any, batch: Mapping[str, Tensor], mask: Tensor) -> Tensor:
    """Return the mean of the last hidden states of each text, (B, D) fp32."""
    states = model(**batch).last_hidden_state.float()
    weights = mask[..., None].to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def name_similarity(texts: np.ndarray, names: np.ndarray) -> np.ndarray:
    """Return the cosines of texts, (N, D), and class names, (C, D): (N, C) fp32."""
    return unit_rows(texts) @ unit_rows(names).T
