"""A trained student on texts: class probabilities in the order the texts were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import TOKEN_BUDGET, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.tokenization import encode, pad_batch
from muka_fast.inference.predictions import (
    CALIBRATION_KEY,
    UNCALIBRATED,
    Calibration,
    Prediction,
    decode,
)
from muka_fast.models.checkpoint import (
    check_vocabulary,
    check_weights,
    find_checkpoint,
    load_classifier,
    read_config,
    token_limit,
)
from muka_fast.runtime.numerics import softmax


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier in eval mode with its label names."""

    model: Any
    tokenizer: Any
    names: tuple[str, ...]
    max_length: int
    confidence: Calibration = UNCALIBRATED

    @classmethod
    def load(cls, source: str, device: torch.device) -> Classifier:
        """Load a classifier from a folder or hub id.

        Raises:
            ModelError: If it is not there, not safetensors, or lacks a trained head or its own tokenizer.
        """
        checkpoint = find_checkpoint(source)
        config = read_config(checkpoint)
        check_weights(checkpoint)
        model, tokenizer = load_classifier(checkpoint, config, device)
        check_vocabulary(tokenizer, config, checkpoint.where)
        names = tuple(str(config.id2label.get(index, index)) for index in range(config.num_labels))
        confidence = Calibration.read(getattr(config, CALIBRATION_KEY, None))
        return cls(model, tokenizer, names, token_limit(model, tokenizer), confidence)

    @torch.inference_mode()
    def logits(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        advance: Callable[[float], None] = lambda _: None,
    ) -> np.ndarray:
        """Return the logits of N texts, (N, classes), fp32, in their order.

        Args:
            texts: The texts.
            pairs: The second text of each pair, if the classifier reads pairs.
            advance: Is told how many texts each batch had.
        """
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one string")
        ids = np.arange(len(texts), dtype=np.uint64)
        encoded = encode(
            self.tokenizer, Corpus(tuple(texts), None if pairs is None else tuple(pairs), ids), self.max_length
        )
        result = np.zeros((len(texts), len(self.names)), dtype=np.float32)
        for pick in token_batches(encoded.lengths, ids, TOKEN_BUDGET[self.model.device.type]):
            batch = pad_batch(self.tokenizer, [encoded.rows[i] for i in pick], self.model.device)
            result[pick] = self.model(**batch).logits.float().cpu().numpy()
            advance(len(pick))
        return result

    def probabilities(
        self,
        texts: Sequence[str],
        pairs: Sequence[str] | None = None,
        advance: Callable[[float], None] = lambda _: None,
    ) -> np.ndarray:
        """Return the class probabilities of N texts, (N, classes), fp32, in their order; arguments as ``logits``."""
        return softmax(self.logits(texts, pairs, advance) / self.confidence.temperature)

    def classify(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[Prediction]:
        """Return each text's most likely class, its probability, and entropy and energy to abstain by."""
        return decode(self.logits(texts, pairs), self.names, self.confidence)
