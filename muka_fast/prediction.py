"""A trained student on texts: class probabilities in the order the texts were given."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.batches import token_batches
from muka_fast.checkpoints import check_weights, find_checkpoint, load_classifier, read_config, token_limit
from muka_fast.corpus import Corpus, build_corpus
from muka_fast.encoding import encode, padded


@dataclass(frozen=True)
class Classifier:
    """A sequence classifier in eval mode with its label names."""

    model: Any
    tokenizer: Any
    names: tuple[str, ...]
    max_length: int

    @classmethod
    def load(cls, source: str, device: torch.device) -> Classifier:
        """Load a classifier from a folder or hub id.

        Raises:
            ModelError: If it is not there, not safetensors, or lacks a trained head.
        """
        checkpoint = find_checkpoint(source)
        config = read_config(checkpoint)
        check_weights(checkpoint)
        model, tokenizer = load_classifier(checkpoint, config, device)
        names = tuple(str(config.id2label.get(index, index)) for index in range(config.num_labels))
        return cls(model, tokenizer, names, token_limit(model, tokenizer))

    @torch.inference_mode()
    def probabilities(
        self, corpus: Corpus, *, token_budget: int = 8192, advance: Callable[[float], None] = lambda _: None
    ) -> np.ndarray:
        """Return the class probabilities of N texts, (N, classes), fp32."""
        encoded = encode(self.tokenizer, corpus, self.max_length)
        result = np.zeros((len(corpus), len(self.names)), dtype=np.float32)
        for pick in token_batches(encoded.lengths, corpus.ids, token_budget):
            batch = padded(self.tokenizer, [encoded.rows[i] for i in pick], self.model.device)
            result[pick] = self.model(**batch).logits.float().softmax(-1).cpu().numpy()
            advance(len(pick))
        return result

    def classify(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Return (class name, probability) of each text's most likely class."""
        return self.best(build_corpus(texts, distinct=False))

    def best(self, corpus: Corpus) -> list[tuple[str, float]]:
        """Return (class name, probability) of the most likely class of each text of a corpus."""
        probabilities = self.probabilities(corpus)
        return [(self.names[row.argmax()], float(row.max())) for row in probabilities]
