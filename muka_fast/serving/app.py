"""The FastAPI application: ``/predict``, ``/health``, ``/info``, ``/metrics``, and the OpenAPI page at ``/docs``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.exceptions import HTTPException

from muka_fast.export.export_record import ExportRecord, read_export_record
from muka_fast.export.onnx_classifier import OnnxClassifier
from muka_fast.runtime.numerics import softmax
from muka_fast.runtime.printable import is_valid_unicode
from muka_fast.serving.batcher import Batcher
from muka_fast.serving.guard import RequestGuard, reply
from muka_fast.serving.metrics import Metrics
from muka_fast.serving.schema import (
    FORMS,
    ClassifierInfo,
    ErrorReply,
    Info,
    Limits,
    ModelType,
    Prediction,
    PredictRequest,
    RequestError,
)

_DTYPES = {"fp32": "float32", "fp16": "float16", "int8": "int8"}
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorReply, "description": "no JSON, or an empty text"},
    413: {"model": ErrorReply, "description": "more texts, longer texts or a larger body than the limits allow"},
    422: {"model": ErrorReply, "description": "another schema, or a text that the tokenizer refuses"},
    424: {"model": ErrorReply, "description": "the model failed"},
    429: {"model": ErrorReply, "description": "too many requests in progress"},
}


def create_app(
    folder: str | Path, classifier: OnnxClassifier, limits: Limits | None = None, *, version: str = "unknown"
) -> FastAPI:
    """Return the application that serves a classifier.

    Args:
        folder: Folder that ``muka-fast export`` wrote.
        classifier: The classifier loaded from it.
        limits: What the server takes.
        version: Version of muka-fast, for ``/info``.
    """
    limits, record = limits or Limits(), read_export_record(Path(folder))
    info = _info(Path(folder).resolve().name, record, classifier, limits, version)
    guards: list[RequestGuard] = []
    metrics = Metrics(lambda: sum(guard.in_progress for guard in guards))
    batcher = Batcher(classifier, limits.batch, metrics.count_batch)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        batcher.start()
        yield
        # Requests in progress are answered before; closing waits for the last batch, so not in the event loop.
        await asyncio.get_running_loop().run_in_executor(None, batcher.close)

    app = FastAPI(title=f"muka-fast: {info.model_id}", version=version, lifespan=lifespan)

    def guard(inner: Any) -> RequestGuard:
        guards.append(RequestGuard(inner, limits, metrics.count_request))
        return guards[-1]

    app.add_middleware(guard)
    app.add_exception_handler(RequestError, _on_request_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)

    @app.post(
        "/predict",
        response_model=list[Prediction] | list[list[Prediction]],
        response_description="all classes, the most likely first; for a batch one list per text",
        responses=_ERRORS,
    )
    async def predict(request: PredictRequest) -> Response:
        """Classify a text, a pair or a batch."""
        texts = request.sequences()
        _require_allowed(texts, request, limits, record)
        truncates = limits.truncates if request.truncate is None else request.truncate
        logits = await asyncio.wrap_future(batcher.submit(texts, truncates=truncates))
        if not np.isfinite(logits).all():
            raise RequestError("a score is not a finite number", "backend")
        probabilities = softmax(logits / classifier.calibration.temperature)
        metrics.count_predictions(classifier.labels, probabilities)
        rows = _ranked(classifier.labels, logits if request.raw_scores else probabilities)
        # Made here: a reply of many classes would take pydantic longer than the model.
        content = json.dumps(rows if request.is_batch else rows[0], ensure_ascii=False, allow_nan=False)
        return Response(content, media_type="application/json")

    @app.get("/health", responses={503: {"model": ErrorReply}})
    async def health() -> Response:
        """Return 200 while requests are answered."""
        if not batcher.is_alive:
            raise RequestError("unhealthy", "unhealthy")
        return Response()

    @app.get("/info")
    async def get_info() -> Info:
        """Return the served model and the limits."""
        return info

    @app.get("/metrics", response_class=PlainTextResponse)
    async def get_metrics() -> Response:
        """Return Prometheus metrics."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return app


def _require_allowed(
    texts: list[tuple[str, ...]], request: PredictRequest, limits: Limits, record: ExportRecord
) -> None:
    if len(texts) > limits.client_batch:
        message = f"batch size {len(texts)} > maximum allowed batch size {limits.client_batch}"
        raise RequestError(message, "validation")
    for index, text in enumerate(texts):
        count = sum(map(len, text))
        if count > limits.characters:
            raise RequestError(f"text {index} has {count} characters, more than {limits.characters}", "validation")
        if not all(text):
            raise RequestError(f"text {index} is empty", "empty")
        if not all(map(is_valid_unicode, text)):
            raise RequestError(f"text {index} is not Unicode: half a surrogate pair", "tokenizer")
    direction = request.truncation_direction
    if direction is not None and direction.lower() != record.truncation_side:
        raise RequestError(f"this model is cut on the {record.truncation_side}", "validation", 422)


def _ranked(labels: tuple[str, ...], scores: np.ndarray) -> list[list[dict[str, Any]]]:
    """Return labels and scores of each text, the largest score first."""
    order = np.argsort(-scores, axis=1, kind="stable")
    return [
        [{"score": float(row[column]), "label": labels[column]} for column in columns]
        for row, columns in zip(scores, order, strict=True)
    ]


def _info(name: str, record: ExportRecord, classifier: OnnxClassifier, limits: Limits, version: str) -> Info:
    ids = {label: index for index, label in enumerate(classifier.labels)}
    return Info(
        model_id=name,
        model_sha=record.revision,
        model_dtype=_DTYPES[classifier.precision],
        model_type=ModelType(
            classifier=ClassifierInfo(id2label={str(index): label for label, index in ids.items()}, label2id=ids)
        ),
        max_concurrent_requests=limits.concurrent_requests,
        max_input_length=classifier.max_length,
        max_batch_tokens=classifier.token_budget,
        max_batch_requests=limits.batch,
        max_client_batch_size=limits.client_batch,
        auto_truncate=limits.truncates,
        tokenization_workers=1,
        version=version,
        abstain_below=classifier.calibration.abstain_below,
    )


async def _on_request_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return reply(error)


async def _on_invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        return reply(RequestError("the body is not JSON", "validation", 400))
    place = [str(part) for part in first["loc"] if part != "body"]
    message = f"inputs: give {FORMS}" if place[:1] == ["inputs"] else f"{'.'.join(place) or 'body'}: {first['msg']}"
    return reply(RequestError(message, "validation", 422))


async def _on_http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    response = reply(RequestError(str(error.detail), "validation", error.status_code))
    response.headers.update(error.headers or {})
    return response
