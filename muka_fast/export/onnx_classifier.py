"""An exported classifier: texts in, class names and probabilities out; needs onnxruntime, tokenizers, numpy alone."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from muka_fast.data.batching import token_batches
from muka_fast.errors import CorpusError, MachineError, ModelError
from muka_fast.export.sessions import CPU, Session, open_session
from muka_fast.inference.predictions import (
    Calibration,
    Prediction,
    decode,
)
from muka_fast.runtime.numerics import softmax

RECORD = "export.json"
ENOUGH = 64
"""Tokens that keep a core busy: a batch that has them is cut where texts get shorter."""


class OnnxClassifier:
    """A classifier that ``muka-fast export`` wrote.

    On the CPU all threads share the work of a request that makes one batch; of one that makes several, each thread
    takes batches of its own, in a second session, opened for the first such request, that holds the weights once more.
    Sharing an operator over a few hundred tokens can cost as much as it saves, when the cores do not share a cache.
    Threads do not survive a fork: make it in the process that uses it.

    Args:
        folder: What it wrote.
        precision: Which of its graphs: ``fp32``, ``fp16`` or ``int8``; default: the first one exported.
        device: ``auto``, ``cpu`` or ``cuda``; see :func:`muka_fast.export.sessions.open_session`.
        temperature: What logits are divided by before the softmax; default: what was saved with the classifier.
        token_budget: Padded tokens of a batch, at most.
        threads: Threads that compute; default: one a core. Give it where a container limits the time of all cores.

    Attributes:
        names: Class names in column order.
        confidence: Its temperature and the probability below which it names no class.
        max_length: Tokens read of a text; the rest is cut off.
        provider: ONNX Runtime's execution provider that computes.
        remark: Why that is not CUDA although the package could; empty otherwise.

    Raises:
        ModelError: If the folder is no export, or lacks a file.
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
        record = read_record(folder)
        self.confidence = Calibration.read(record.get("confidence"))
        if temperature is not None:
            self.confidence = self.confidence._replace(temperature=temperature)
        graphs = record["graphs"]
        chosen = precision or next(iter(graphs))
        if chosen not in graphs:
            raise ModelError(
                f"no {chosen} graph, only {', '.join(graphs)}", where=str(folder), hint=f"export it with {chosen} too"
            )
        self.names = tuple(record["labels"])
        self.max_length = int(record["max_length"])
        self.precision = chosen
        self._budget = token_budget
        self._inputs: dict[str, int] = record["inputs"]  # name: what pads it
        left = record["padding_side"] == "left"
        self._side = (lambda count: slice(-count, None)) if left else slice
        self._tokenizer = _tokenizer(folder, self.max_length, record["truncation_side"])
        self._graph = folder / graphs[chosen]["file"]
        self._session = open_session(self._graph, device, threads)
        self.provider, self.remark = self._session.provider, self._session.remark
        self._threads = (threads or _cores()) if self.provider == CPU else 1

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

        Raises:
            CorpusError: If a text has no tokens.
        """
        rows = self.encode(texts, pairs)
        result = np.zeros((len(rows), len(self.names)), dtype=np.float32)
        lengths = np.array([len(row["input_ids"]) for row in rows], dtype=np.int64)
        if not lengths.all():
            short = texts[int(lengths.argmin())]
            raise CorpusError("a text has no tokens", where=f"text {short[:40]!r}", hint="leave it out")
        picks = self._batches(lengths)
        shared = len(picks) <= 1 or self._threads == 1
        session = self._session if shared else self._one_thread_session
        found = (map if shared else self._pool.map)(lambda pick: self._run(session, [rows[i] for i in pick]), picks)
        for pick, values in zip(picks, found, strict=True):
            result[pick] = values
            advance(len(pick))
        return result

    def _batches(self, lengths: np.ndarray) -> list[np.ndarray]:
        budget = self._budget
        if self._threads > 1:  # two batches a thread, so that none waits long for another's last
            budget = min(budget, max(ENOUGH, -(-int(lengths.sum()) // (2 * self._threads))))
        return token_batches(lengths, np.arange(len(lengths), dtype=np.uint64), budget, ENOUGH)

    def _run(self, session: Session, rows: Sequence[dict[str, list[int]]]) -> np.ndarray:
        shape = (len(rows), max(len(row["input_ids"]) for row in rows))
        feed = {name: np.full(shape, padding, dtype=np.int64) for name, padding in self._inputs.items()}
        for place, row in enumerate(rows):
            for name, values in row.items():
                feed[name][place, self._side(len(values))] = values
        return session.run.run(["logits"], feed)[0]

    @cached_property
    def _one_thread_session(self) -> Session:
        return open_session(self._graph, "cpu", threads=1)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads, thread_name_prefix="muka-fast")

    def encode(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[dict[str, list[int]]]:
        """Return what the graph is given for each text, by input name, without padding."""
        if isinstance(texts, str):
            raise TypeError("give a list of texts, not one string")
        joined = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
        columns = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        rows = self._tokenizer.encode_batch(joined)
        return [{name: getattr(row, columns[name]) for name in self._inputs} for row in rows]

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


def _cores() -> int:
    """Return the cores this process may use; limits on its time, as containers set them, do not count."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_exported(folder: str | Path) -> bool:
    """Return whether a folder is one that ``muka-fast export`` wrote."""
    return (Path(folder) / RECORD).is_file()


def read_record(folder: Path) -> dict[str, Any]:
    """Read what an export says of itself.

    Raises:
        ModelError: If there is none, or it cannot be read.
    """
    path = folder / RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        graphs = record["graphs"]
        if not graphs or not {"labels", "inputs", "max_length", "padding_side", "truncation_side"} <= record.keys():
            raise ValueError("it is incomplete")
    except FileNotFoundError:
        raise ModelError(
            f"no {RECORD} in the folder", where=str(folder), hint="give what 'muka-fast export' wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"cannot read it: {error}", where=str(path), hint="export the model again") from None
    missing = [graph["file"] for graph in graphs.values() if not (folder / graph["file"]).is_file()]
    if missing:
        raise ModelError(f"the graph {missing[0]} is missing", where=str(folder), hint="export the model again")
    return record


def _tokenizer(folder: Path, max_length: int, cut: str) -> Any:
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
            f"cannot load its tokenizer: {error}", where=str(path), hint="export the model again"
        ) from None
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length, direction=cut)
    return tokenizer
