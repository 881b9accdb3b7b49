"""Limits and measurements around every request: ASGI middleware."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from muka_fast.serving.schema import Limits, RequestError

PATH = "/predict"


class RequestGuard:
    """Refuses ``/predict`` requests beyond the limits before their body is read, and measures all of them.

    Args:
        app: The application.
        limits: Requests in progress, and size of a body.
        count: Receives status and seconds of every request.

    Attributes:
        in_progress: Number of requests in progress.
    """

    def __init__(self, app: ASGIApp, limits: Limits, count: Callable[[int, float], None]) -> None:
        self._app, self._limits, self._count = app, limits, count
        self.in_progress = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] != PATH:
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def measured(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self.in_progress += 1
        try:
            refusal = self._refusal(scope)
            if refusal is not None:
                await reply(refusal)(scope, receive, measured)
            else:
                await self._app(scope, _Body(receive, self._limits).receive, measured)
        finally:
            self.in_progress -= 1
            self._count(status, time.perf_counter() - started)

    def _refusal(self, scope: Scope) -> RequestError | None:
        if self.in_progress > self._limits.concurrent_requests:
            return RequestError("too many requests in progress", "overloaded")
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if not length.isdigit() or int(length) > self._limits.body_bytes:
            return _too_large(self._limits)
        return None


class _Body:
    """The body of a request, whose size is counted as it comes in: a client may send it in chunks without a length."""

    def __init__(self, receive: Receive, limits: Limits) -> None:
        self._receive, self._limits, self._size = receive, limits, 0

    async def receive(self) -> Message:
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limits.body_bytes:
            raise HTTPException(413, str(_too_large(self._limits)))  # the only error that FastAPI passes on
        return message


def _too_large(limits: Limits) -> RequestError:
    return RequestError(f"the body is larger than {limits.body_bytes} bytes", "validation")


def reply(error: RequestError) -> Any:
    """Return an error as a response."""
    return JSONResponse(error.reply.model_dump(), status_code=error.status)
