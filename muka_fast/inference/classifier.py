"""A PyTorch sequence classifier on texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import TOKEN_BUDGET, Padding, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.inference.base import Advance, LogitClassifier, no_progress, require_list
from muka_fast.inference.predictions import CALIBRATION_KEY, UNCALIBRATED, Calibration
from muka_fast.models.checkpoint import check_weights, find_checkpoint
from muka_fast.models.head import read_head
from muka_fast.models.loading import check_vocabulary, load_model, read_config, token_limit
from muka_fast.models.padding import choose_padding
from muka_fast.runtime.library_messages import quiet_libraries


@dataclass(frozen=True)
class Classifier(LogitClassifier):
    """A transformers sequence classifier in eval mode, with its tokenizer and label names.

    Attributes:
        model: The model, on its device.
        tokenizer: Tokenizer of the model.
        labels: Class names in column order.
        max_length: Tokens read of a text; longer texts are truncated.
        calibration: Temperature of the softmax, and the probability below which no class is named.
    """

    model: Any
    tokenizer: Any
    labels: tuple[str, ...]
    max_length: int
    calibration: Calibration = UNCALIBRATED

    @classmethod
    @quiet_libraries()
    def load(cls, source: str, device: torch.device, *, trust_remote_code: bool = False) -> Classifier:
        """Load a classifier from a folder or hub id.

        Args:
            source: Folder or hub id.
            device: Where to compute.
            trust_remote_code: Run model code that lies beside the weights.

        Raises:
            ModelError: If the model is missing, is not safetensors, lacks a trained head or a tokenizer of its own, or
                its head is not one of single labels.
        """
        checkpoint = find_checkpoint(source, trust_remote_code=trust_remote_code)
        config = read_config(checkpoint)
        labels = read_head(config, checkpoint.where)
        check_weights(checkpoint)
        model, tokenizer = load_model(checkpoint, config, device)
        check_vocabulary(tokenizer, config, checkpoint.where)
        calibration = Calibration.read(getattr(config, CALIBRATION_KEY, None), checkpoint.where)
        return cls(model, tokenizer, labels, token_limit(model, tokenizer), calibration)

    def with_calibration(self, calibration: Calibration) -> Classifier:
        """Return the same classifier with another calibration."""
        return replace(self, calibration=calibration)

    @cached_property
    def padding(self) -> Padding:
        """How texts are padded; see :func:`muka_fast.models.padding.choose_padding`."""
        return choose_padding(self.model, self.tokenizer, self.max_length)

    @torch.inference_mode()
    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> np.ndarray:
        """Return the logits of N texts, (N, C) fp32, in their order.

        Args:
            texts: N texts.
            pairs: The second text of each pair, if the classifier reads pairs.
            progress: Receives the number of texts that each batch completed.
        """
        require_list(texts)
        ids = np.arange(len(texts), dtype=np.uint64)
        corpus = Corpus(tuple(texts), None if pairs is None else tuple(pairs), ids)
        padding = self.padding  # before the texts are tokenized: it decides which inputs the model gets
        encoded = tokenize(self.tokenizer, corpus, self.max_length)
        logits = np.zeros((len(texts), len(self.labels)), dtype=np.float32)
        batches = token_batches(encoded.lengths, ids, TOKEN_BUDGET[self.model.device.type])
        for indices in padding.split(batches, encoded.encodings):
            batch = pad_batch(padding, [encoded.encodings[i] for i in indices], self.model.device)
            logits[indices] = self.model(**batch).logits.float().cpu().numpy()
            progress(len(indices))
        return logits
