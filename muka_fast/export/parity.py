"""Parity of a graph and its model: logits on real texts and on batches of unusual shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from muka_fast.data.batching import Padding, token_batches
from muka_fast.data.corpus import Corpus
from muka_fast.data.encodings import TokenizedText
from muka_fast.data.tokenization import pad_batch, tokenize
from muka_fast.errors import CheckFailed, ModelError, first_line
from muka_fast.export.export_record import Parity

SAMPLE = 256
_BATCH_LENGTH = 64
_BUDGET = 4096
_LONGEST = 2048
"""Tokens of the longest probe: attention scores of two texts of 8,192 would take gigabytes a layer."""


@dataclass(frozen=True)
class Probe:
    """One batch: its shape in words, its inputs, and the model's logits, (B, C)."""

    name: str
    inputs: dict[str, np.ndarray]
    logits: np.ndarray


def _with_a_long_one(sample: Corpus, max_length: int) -> Corpus:
    """Return a few texts of a corpus and one that is truncated."""
    few = sample.take(np.arange(min(31, len(sample))))
    long = " ".join([*few.texts] * (1 + max_length // len(few)))
    pairs = None if few.pairs is None else (*few.pairs, few.pairs[0])
    return Corpus((*few.texts, long), pairs, np.arange(len(few) + 1, dtype=np.uint64))


def _stretched(row: TokenizedText, length: int) -> TokenizedText:
    """Repeat or cut a text's token ids to a length."""
    return {name: np.resize(values, length) for name, values in row.items()}


def _shapes(rows: Sequence[TokenizedText], max_length: int) -> dict[str, list[TokenizedText]]:
    """Return batches of token ids by name, whose shapes reveal frozen or mishandled dimensions."""
    by_length = sorted(rows, key=lambda row: len(row["input_ids"]))
    longest = by_length[-1]
    odd = min(max_length, max(3, len(longest["input_ids"]) | 1))
    block = [_stretched(row, min(_BATCH_LENGTH, max_length)) for row in (by_length * 8)[:8]]
    mixed = [by_length[i * (len(by_length) - 1) // 15] for i in range(16)]
    full = _stretched(longest, max_length)
    return {
        "1 × 1": [_stretched(longest, 1)],
        f"1 × {len(longest['input_ids'])}": [longest],
        f"3 × {odd}": [_stretched(row, odd) for row in (by_length[-3:] * 3)[:3]],
        f"{len(block)} × {len(block[0]['input_ids'])}": block,
        "padded rows": [full if max_length <= _BATCH_LENGTH else _stretched(longest, _BATCH_LENGTH), *mixed],
        f"2 × {max_length}, one padded": [full, by_length[0]],
    }


class ParityChecker:
    """Computes a model's logits, then compares graphs with them.

    Args:
        model: In eval mode, on the CPU.
        tokenizer: Tokenizer of the model.
        padding: How texts are padded.
        max_length: Maximum length of a text in tokens.
        texts: Texts to compare on; the first 256 are used.
        labelled: Labelled texts and the class index of each, on which accuracies are compared.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        padding: Padding,
        max_length: int,
        texts: Corpus,
        labelled: tuple[Corpus, np.ndarray] | None = None,
    ) -> None:
        self._model, self._tokenizer, self._padding = model, tokenizer, padding
        sample = texts.take(np.arange(min(SAMPLE, len(texts))))
        rows = tokenize(tokenizer, sample, max_length).encodings
        self._strings = _with_a_long_one(sample, max_length)
        self._rows = tokenize(tokenizer, self._strings, max_length).encodings
        longest = min(max_length, _LONGEST)
        # A model that reads padding gets the batches only whose texts may share one.
        self._shapes = [
            self._probe(name, batch)
            for name, batch in _shapes(rows, longest).items()
            if len(padding.split([np.arange(len(batch))], batch)) == 1
        ]
        self._texts = [probe for _, probe in self._batches(sample, max_length)]
        self._labelled: list[tuple[np.ndarray, Probe]] = []
        if labelled is not None:
            corpus, truth = labelled
            self._labelled = [(truth[indices], probe) for indices, probe in self._batches(corpus, max_length)]

    def _batches(self, corpus: Corpus, max_length: int) -> list[tuple[np.ndarray, Probe]]:
        encoded = tokenize(self._tokenizer, corpus, max_length)
        return [
            (indices, self._probe(f"{len(indices)} texts", [encoded.encodings[i] for i in indices]))
            for indices in self._padding.split(token_batches(encoded.lengths, corpus.ids, _BUDGET), encoded.encodings)
        ]

    @torch.inference_mode()
    def _probe(self, name: str, rows: Sequence[TokenizedText]) -> Probe:
        batch = pad_batch(self._padding, rows, self._model.device)
        try:
            logits = self._model(**batch).logits.float().cpu().numpy()
        except (ValueError, RuntimeError, IndexError) as error:  # heads that need one end token in each text
            raise ModelError(
                f"the model does not run {name} tokens: {first_line(error)}",
                where="parity",
                hint="export a model that runs batches of these shapes",
            ) from None
        inputs = {key: value.cpu().numpy().astype(np.int64) for key, value in batch.items()}
        return Probe(name, inputs, logits)

    def compare(self, session: Any) -> Parity:
        """Run a graph on all texts and shapes.

        Args:
            session: An ONNX Runtime session.

        Raises:
            CheckFailed: If the graph does not run a shape, or its logits have another shape, or are NaN or infinite.
        """
        every, of_model = self._both(session, [*self._shapes, *self._texts])
        shapes = sum(len(probe.logits) for probe in self._shapes)
        ours, theirs = every[shapes:], of_model[shapes:]
        accuracy = model_accuracy = None
        if self._labelled:
            truth = np.concatenate([truth for truth, _ in self._labelled])
            found = np.concatenate([self._logits(session, probe).argmax(1) for _, probe in self._labelled])
            meant = np.concatenate([probe.logits.argmax(1) for _, probe in self._labelled])
            accuracy, model_accuracy = float((found == truth).mean()), float((meant == truth).mean())
        return Parity(
            texts=len(ours),
            largest=float(np.abs(every - of_model).max()),
            mean=float(np.abs(ours - theirs).mean()),
            agreement=float(min((a.argmax(1) == b.argmax(1)).mean() for a, b in ((ours, theirs), (every, of_model)))),
            accuracy=accuracy,
            model_accuracy=model_accuracy,
        )

    def _both(self, session: Any, probes: Sequence[Probe]) -> tuple[np.ndarray, np.ndarray]:
        """Return the logits of the graph and of the model, (N, C) each."""
        found = [self._logits(session, probe) for probe in probes]
        return np.concatenate(found), np.concatenate([probe.logits for probe in probes])

    def check_tokenizer(
        self, encode: Callable[[Sequence[str], Sequence[str] | None], list[dict[str, list[int]]]]
    ) -> None:
        """Compare another tokenizer's token ids with those of the model's tokenizer, also of a truncated text.

        Args:
            encode: Maps texts, and their pairs or None, to the inputs of the graph for each text, without padding.

        Raises:
            CheckFailed: If the token ids of a text differ.
        """
        for text, row, meant in zip(
            self._strings.texts, encode(self._strings.texts, self._strings.pairs), self._rows, strict=True
        ):
            if any(values != meant[name].tolist() for name, values in row.items()):
                raise CheckFailed(
                    "the tokenizer gives other tokens without transformers",
                    where=f"text {text[:40]!r}",
                    hint="serve this model with transformers",
                )

    @staticmethod
    def _logits(session: Any, probe: Probe) -> np.ndarray:
        try:
            (logits,) = session.run(["logits"], probe.inputs)
        except Exception as error:  # noqa: BLE001 - the runtime raises types of its own
            reason = str(error).splitlines()[0][:160]
            raise CheckFailed(f"the graph does not run {probe.name} tokens: {reason}", where="parity") from None
        if logits.shape != probe.logits.shape or not np.isfinite(logits).all():
            raise CheckFailed(
                f"the graph's logits for {probe.name} tokens have another shape, or are NaN or infinite", where="parity"
            )
        return logits


@dataclass(frozen=True)
class Tolerances:
    """Allowed differences between a graph and its model.

    Attributes:
        atol: fp32: largest absolute difference of a logit.
        agreement: fp16, int8: least share of texts with the same most likely class; used without labelled texts.
        loss: fp16, int8: largest loss of accuracy on labelled texts.
    """

    atol: float = 1e-4
    agreement: float = 0.99
    loss: float = 0.005

    def violation(self, parity: Parity, precision: str) -> str:
        """Return which tolerance a graph of a precision violates, with the figures; empty if none."""
        if precision == "fp32":
            if parity.largest <= self.atol:
                return ""
            return f"logits differ by {parity.largest:.1e}, {self.atol:.0e} is allowed"
        if parity.accuracy is not None and parity.model_accuracy is not None:
            if parity.model_accuracy - parity.accuracy <= self.loss:
                return ""
            return (
                f"accuracy falls from {parity.model_accuracy:.2%} to {parity.accuracy:.2%}, "
                f"{100 * self.loss:.2g} points are allowed"
            )
        if parity.agreement >= self.agreement:
            return ""
        return (
            f"the most likely class stays for {parity.agreement:.2%} of {parity.texts} texts, "
            f"{self.agreement:.2%} is asked"
        )
