"""Prometheus metrics of a server."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from muka_fast.serving.batcher import BatchTiming

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_PROBABILITIES = tuple(round(0.05 * step, 2) for step in range(1, 21))


class Metrics:
    """Counts and times of requests and batches, and what was predicted.

    Args:
        in_progress: Returns the number of requests in progress.
    """

    def __init__(self, in_progress: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self._requests = Counter(
            "muka_fast_requests", "Requests of /predict, by HTTP status.", ["status"], registry=registry
        )
        self._seconds = Histogram(
            "muka_fast_request_seconds", "Time of a request of /predict.", buckets=_SECONDS, registry=registry
        )
        self._waited = Histogram(
            "muka_fast_queue_seconds", "Time that a request waits for its batch.", buckets=_SECONDS, registry=registry
        )
        self._inference = Histogram(
            "muka_fast_inference_seconds", "Time of a batch.", buckets=_SECONDS, registry=registry
        )
        self._batches = Histogram("muka_fast_batch_texts", "Texts of a batch.", buckets=_TEXTS, registry=registry)
        self._waiting = Gauge("muka_fast_queued_requests", "Requests that wait for a batch.", registry=registry)
        Gauge("muka_fast_requests_in_progress", "Requests in progress.", registry=registry).set_function(in_progress)
        self._predictions = Counter(
            "muka_fast_predictions", "Texts, by their most likely class.", ["label"], registry=registry
        )
        self._confidence = Histogram(
            "muka_fast_confidence", "Probability of the most likely class.", buckets=_PROBABILITIES, registry=registry
        )

    def count_request(self, status: int, seconds: float) -> None:
        """Count a request of ``/predict``."""
        self._requests.labels(str(status)).inc()
        self._seconds.observe(seconds)

    def count_batch(self, batch: BatchTiming) -> None:
        """Count a batch."""
        self._batches.observe(batch.texts)
        self._inference.observe(batch.seconds)
        self._waiting.set(batch.waiting)
        for waited in batch.waited:
            self._waited.observe(waited)

    def count_predictions(self, labels: tuple[str, ...], probabilities: np.ndarray) -> None:
        """Count the most likely classes of N texts by their probabilities, (N, C)."""
        for row in probabilities:
            best = int(row.argmax())
            self._predictions.labels(labels[best]).inc()
            self._confidence.observe(float(row[best]))

    def text(self) -> bytes:
        """Return all values in Prometheus' text format."""
        return generate_latest(self.registry)
