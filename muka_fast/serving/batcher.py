"""Waiting requests joined into batches: one thread classifies whatever has come in since its last batch.

A batch is never waited for. While one is computed, requests gather, so batches grow with the load.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import numpy as np

from muka_fast.errors import MukaError, TextError
from muka_fast.serving.schema import RequestError

Row = TypeVar("Row")
Texts = Sequence[tuple[str, ...]]
"""Tuples of one text, or of the two of a pair."""


class LogitSource(Protocol):
    """What is asked of a classifier."""

    def logits(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> np.ndarray:
        """Return the logits of N texts, (N, C) fp32, in their order."""

    def exceed_max_length(self, texts: Sequence[str], pairs: Sequence[str] | None = None) -> list[bool]:
        """Return which texts would be truncated."""


@dataclass(frozen=True)
class BatchTiming:
    """One batch.

    Attributes:
        texts: Its number of texts.
        seconds: Seconds that tokenizer and graph took.
        waited: Seconds that each of its requests waited before.
        waiting: Requests that wait for the next one.
    """

    texts: int
    seconds: float
    waited: tuple[float, ...]
    waiting: int


@dataclass(frozen=True)
class _Job:
    texts: Texts
    truncates: bool
    submitted: float
    logits: Future[np.ndarray] = field(default_factory=Future)


class Batcher:
    """A thread that classifies the texts of waiting requests together, in the order of their arrival.

    A text that cannot be classified fails its own request only.

    Args:
        classifier: The classifier; called from one thread.
        max_batch: Texts of a batch; a request of more is a batch of its own.
        observe: Receives every batch.
    """

    def __init__(
        self, classifier: LogitSource, max_batch: int, observe: Callable[[BatchTiming], None] = lambda _: None
    ) -> None:
        self._classifier, self._max_batch, self._observe = classifier, max_batch, observe
        self._waiting: deque[_Job] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="muka-fast-batches", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive() and not self._closed

    def submit(self, texts: Texts, *, truncates: bool) -> Future[np.ndarray]:
        """Queue the texts of a request.

        Args:
            texts: N texts or pairs, N ≥ 1.
            truncates: Cut long texts; otherwise one of them is an error.

        Returns:
            The logits to come, (N, C) fp32, or a :class:`RequestError`.

        Raises:
            RequestError: If the thread has ended.
        """
        job = _Job(texts, truncates, time.perf_counter())
        with self._changed:
            if self._closed:
                raise RequestError("the server shuts down", "unhealthy")
            self._waiting.append(job)
            self._changed.notify()
        return job.logits

    def close(self) -> None:
        """Answer the waiting requests, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _take(self) -> tuple[list[_Job], int]:
        """Wait for requests; return those of the next batch, and the number left. None after the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            jobs: list[_Job] = []
            count = 0
            while self._waiting and (not jobs or count + len(self._waiting[0].texts) <= self._max_batch):
                jobs.append(self._waiting.popleft())
                count += len(jobs[-1].texts)
            return jobs, len(self._waiting)

    def _run(self) -> None:
        while True:
            jobs, waiting = self._take()
            if not jobs:
                return
            started = time.perf_counter()
            running = [job for job in jobs if job.logits.set_running_or_notify_cancel()]
            self._answer(running)
            seconds = time.perf_counter() - started
            waited = tuple(started - job.submitted for job in running)
            self._observe(BatchTiming(sum(len(job.texts) for job in running), seconds, waited, waiting))

    def _answer(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if not self._is_too_long(job)]
        try:
            logits = self._logits([text for job in jobs for text in job.texts])
        except Exception:  # noqa: BLE001 - whatever it is, one request must not fail the others
            for job in jobs:
                self._answer_alone(job)
            return
        start = 0
        for job in jobs:
            job.logits.set_result(logits[start : start + len(job.texts)])
            start += len(job.texts)

    def _answer_alone(self, job: _Job) -> None:
        try:
            job.logits.set_result(self._logits(job.texts))
        except Exception as error:  # noqa: BLE001 - tokenizer and runtime raise types of their own
            job.logits.set_exception(_explain(error))

    def _is_too_long(self, job: _Job) -> bool:
        """Fail a request that forbids truncation and has a text that would be cut."""
        if job.truncates:
            return False
        try:
            exceeding = _by_form(job.texts, self._classifier.exceed_max_length)
        except Exception as error:  # noqa: BLE001 - the tokenizer raises types of its own
            job.logits.set_exception(_explain(error))
            return True
        if not any(exceeding):
            return False
        job.logits.set_exception(
            RequestError(
                f"text {exceeding.index(True)} is longer than the model takes; see max_input_length", "validation"
            )
        )
        return True

    def _logits(self, texts: Texts) -> np.ndarray:
        rows = _by_form(texts, self._classifier.logits)
        return np.stack(rows) if rows else np.zeros((0, 0), dtype=np.float32)


def _by_form(texts: Texts, call: Callable[[list[str], list[str] | None], Iterable[Row]]) -> list[Row]:
    """Call a function for the single texts and for the pairs; return its rows in the order of the texts."""
    found: dict[int, Row] = {}
    singles = [index for index, text in enumerate(texts) if len(text) == 1]
    pairs = [index for index, text in enumerate(texts) if len(text) == 2]
    if singles:
        found.update(zip(singles, call([texts[i][0] for i in singles], None), strict=True))
    if pairs:
        found.update(zip(pairs, call([texts[i][0] for i in pairs], [texts[i][1] for i in pairs]), strict=True))
    return [found[index] for index in range(len(texts))]


def _explain(error: Exception) -> RequestError:
    if isinstance(error, TextError):
        return RequestError(f"text {error.index}: {error.what}", "tokenizer")
    what = error.what if isinstance(error, MukaError) else type(error).__name__
    return RequestError(f"inference failed: {what}", "backend")
