"""An exported classifier on texts. Needs onnxruntime, tokenizers and numpy alone."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from muka_fast.data.batching import Padding, token_batches
from muka_fast.errors import MachineError, ModelError, TextError
from muka_fast.export.export_record import ExportRecord, read_export_record
from muka_fast.export.sessions import CPU, Session, open_session
from muka_fast.inference.base import Advance, LogitClassifier, no_progress, require_list
from muka_fast.inference.predictions import Calibration

MIN_BATCH_TOKENS = 64
"""Tokens that keep a core busy; a batch with at least that many ends where texts get shorter."""


class OnnxClassifier(LogitClassifier):
    """A classifier that ``muka-fast export`` wrote.

    On the CPU all threads share the operators of a request that makes one batch. In a request of several batches each
    thread runs batches of its own, in a second session that holds the weights once more and is opened for the first
    such request: sharing an operator over a few hundred tokens can cost as much as it saves, when the cores do not
    share a cache. Threads do not survive a fork: create the classifier in the process that uses it.

    Args:
        folder: Folder that ``muka-fast export`` wrote.
        precision: Graph to load: ``fp32``, ``fp16`` or ``int8``; default: the first one exported.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; see :func:`muka_fast.export.sessions.open_session`.
        temperature: Divisor of the logits before the softmax; default: the value saved with the classifier.
        token_budget: Maximum number of padded tokens in a batch.
        threads: Number of threads; default: one per core. Set it where a container limits the time of all cores.

    Attributes:
        labels: Class names in column order.
        calibration: Temperature of the softmax, and the probability below which no class is named.
        max_length: Tokens read of a text; longer texts are truncated.
        precision: Precision of the graph.
        token_budget: Maximum number of padded tokens in a batch.
        provider: ONNX Runtime's execution provider that computes.
        warning: Why the provider is not CUDA although onnxruntime-gpu is installed; empty otherwise.

    Raises:
        ModelError: If the folder is not an export, or a file is missing, damaged or of another export.
        MachineError: If onnxruntime or tokenizers is missing, or ``cuda`` was asked for and does not load.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        precision: str | None = None,
        device: str = "auto",
        temperature: float | None = None,
        token_budget: int = 4096,
        threads: int | None = None,
    ) -> None:
        if temperature is not None and not temperature > 0:
            raise ValueError(f"the temperature must be positive, not {temperature}")
        folder = Path(folder)
        record = read_export_record(folder)
        self.calibration = record.calibration
        if temperature is not None:
            self.calibration = self.calibration._replace(temperature=temperature)
        graphs = record.graphs
        chosen = precision or next(iter(graphs))
        if chosen not in graphs:
            raise ModelError(
                f"no {chosen} graph, only {', '.join(graphs)}", where=str(folder), hint=f"export it with {chosen} too"
            )
        record.require_intact(folder, graphs[chosen])
        self.labels = record.labels
        self.max_length = record.max_length
        self.precision = chosen
        self.token_budget = token_budget
        self._padding = Padding(record.inputs, record.padding_side, record.mixed_lengths, record.counted_token)
        self._tokenizer = _tokenizer(folder, self.max_length, record.truncation_side)
        self._graph = folder / graphs[chosen].file
        self._session = open_session(self._graph, device, threads)
        _require_same_shape(self._session, record, self._graph)
        self.provider, self.warning = self._session.provider, self._session.warning
        self._threads = (threads or _cores()) if self.provider == CPU else 1

    def with_calibration(self, calibration: Calibration) -> OnnxClassifier:
        """Return a classifier of the same session with another calibration."""
        other = copy.copy(self)
        other.calibration = calibration
        return other

    def logits(
        self, texts: Sequence[str], pairs: Sequence[str] | None = None, progress: Advance = no_progress
    ) -> np.ndarray:
        """Return the logits of N texts, (N, C) fp32, in their order.

        Args:
            texts: N texts.
            pairs: The second text of each pair, if the classifier reads pairs.
            progress: Receives the number of texts that each batch completed.

        Raises:
            TextError: If a text has no tokens.
        """
        encodings = self.encode(texts, pairs)
        logits = np.zeros((len(encodings), len(self.labels)), dtype=np.float32)
        lengths = np.array([len(encoding["input_ids"]) for encoding in encodings], dtype=np.int64)
        if not lengths.all():
            index = int(lengths.argmin())
            raise TextError(
                "a text has no tokens", index=index, where=f"text {texts[index][:40]!r}", hint="leave it out"
            )
        batches = self._padding.split(self._batches(lengths), encodings)
        shared = len(batches) <= 1 or self._threads == 1
        session = self._session if shared else self._one_thread_session
        outputs = (map if shared else self._executor.map)(
            lambda indices: self._run(session, [encodings[i] for i in indices]), batches
        )
        for indices, values in zip(batches, outputs, strict=True):
            logits[indices] = values
            progress(len(indices))
        return logits

    def _batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        budget = self.token_budget
        if self._threads > 1:  # two batches per thread, so that no thread waits long for the last batch of another
            budget = min(budget, max(MIN_BATCH_TOKENS, -(-int(lengths.sum()) // (2 * self._threads))))
        return token_batches(lengths, np.arange(len(lengths), dtype=np.uint64), budget, MIN_BATCH_TOKENS)

    def _run(self, session: Session, encodings: Sequence[dict[str, list[int]]]) -> np.ndarray:
        return session.run.run(["logits"], self._padding.pad(encodings))[0]

    @cached_property
    def _one_thread_session(self) -> Session:
        return open_session(self._graph, "cpu", threads=1)

    @cached_property
    def _executor(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="muka-fast")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, list[int]]]:
        """Return the inputs of the graph for each text, by input name, without padding."""
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        rows = self._tokenize(texts, pairs)
        return [{name: getattr(row, columns[name]) for name in self._padding.values} for row in rows]

    def exceed_max_length(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """Return for each text whether it has more tokens than ``max_length``, so that it is truncated."""
        return [bool(row.overflowing) for row in self._tokenize(texts, pairs)]

    def _tokenize(self, texts: Sequence[str], pairs: Sequence[str] | None) -> list[Any]:
        require_list(texts)
        return self._tokenizer.encode_batch(list(texts) if pairs is None else list(zip(texts, pairs, strict=True)))


def _require_same_shape(session: Session, record: ExportRecord, graph: Path) -> None:
    """Refuse a graph whose inputs or whose number of classes are not those of the record."""
    inputs = sorted(one.name for one in session.run.get_inputs())
    (classes,) = [one.shape[-1] for one in session.run.get_outputs() if one.name == "logits"] or [None]
    if inputs != sorted(record.inputs) or classes != len(record.labels):
        raise ModelError(
            f"the graph has the inputs {', '.join(inputs)} and {classes} classes; the record lists "
            f"{', '.join(sorted(record.inputs))} and {len(record.labels)}",
            where=str(graph),
            hint="export the model again",
        )


def _cores() -> int:
    """Return the number of cores this process may use; a container's limit on CPU time is not seen here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _tokenizer(folder: Path, max_length: int, truncation_side: str) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise MachineError(
            "tokenizers is not installed", where="package tokenizers", hint="pip install tokenizers"
        ) from None
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelError(
            "no tokenizer.json in the folder",
            where=str(folder),
            hint="this model's tokenizer runs in transformers only",
        )
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception on damaged files
        raise ModelError(
            f"cannot load the tokenizer: {error}", where=str(path), hint="export the model again"
        ) from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, direction=truncation_side)
    return tokenizer
