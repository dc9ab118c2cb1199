"""What wraps every request: its id, its line in the log, its metrics, its answer's safety, the limit of its body."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Iterable

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.api.errors import ApiError, translate
from backend.metrics import Metrics

log = structlog.get_logger()
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
# What an open page asks every few seconds: in the metrics, but in the log only when it fails.
_POLLED = frozenset(
    {"/v1/models", "/v1/batches", "/v1/batches/{batch}", "/v1/batches/{batch}/pixels/{entry}", "/v1/live/modes"}
)
CLIENT_GONE = 499
SWITCHED = 101
_REFUSED = (401, 429)
_REFUSALS_SECONDS = 1.0
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]
_NOTHING_LOADS = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
_NOT_KEPT = (b"cache-control", b"no-store")
# What people look at: the documentation brings its own scripts, one of them within the page.
_DOCUMENTATION = ("/docs", "/redoc", "/static-offline-docs")
_OWN_LOADS = (
    b"content-security-policy",
    b"default-src 'self' 'unsafe-inline'; img-src 'self' data:; worker-src blob:; frame-ancestors 'none'",
)


class RequestRecord:
    """Gives each request an id (the caller's own, if it is a sane one), and records how it ended."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics
        self._refusals = {status: _Refusals() for status in _REFUSED}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        sent_id = Headers(scope=scope).get("x-request-id", "")
        request_id = sent_id if _SANE_ID.fullmatch(sent_id) else uuid.uuid4().hex
        started, status, answering = time.perf_counter(), 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, answering
            begun = _status(message, answering)
            if begun:
                status, answering = begun, True
                _mark(message, scope["path"], request_id)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except ClientDisconnect:
                status = CLIENT_GONE
            except Exception as error:  # here it still has its id; further out it would have none
                log.error("unexpected error", exc_info=error)
                if not answering:
                    await translate(error).refuse(scope, receive, send_with_id)
            finally:
                self._record(scope, status, time.perf_counter() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        # The route's pattern, not the path: a caller must not be able to make up new time series.
        route = getattr(scope.get("route"), "path", "none")
        method = scope.get("method", "GET")
        self._metrics.requests.labels(method, route, status).inc()
        if status != SWITCHED:  # how long somebody has a camera on is no time of an answer
            self._metrics.request_seconds.labels(route).observe(seconds)
        refusals = self._refusals.get(status)
        if refusals and not refusals.due():
            return
        polled = method == "GET" and route in _POLLED and status < 400
        if scope["path"] not in _QUIET and not polled:
            milliseconds = round(seconds * 1000, 1)
            path = scope.get("raw_path", b"").decode(
                "ascii", "replace"
            )  # percent-encoded: nothing a terminal would obey
            more = {"refused": refusals.number} if refusals else {}
            if "key" in scope:
                more["key"] = scope["key"]
            log.info("request", method=method, path=path, status=status, milliseconds=milliseconds, **more)


def _status(message: Message, answering: bool) -> int:
    """The status that an answer begins with; 0: this does not begin one. A WebSocket that is not taken is a 403."""
    if message["type"].endswith("http.response.start"):
        return int(message["status"])
    if message["type"] == "websocket.accept":
        return SWITCHED
    return 403 if message["type"] == "websocket.close" and not answering else 0


def _mark(message: Message, path: str, request_id: str) -> None:
    """Adds the headers that every answer has."""
    if message["type"] == "websocket.close":
        return
    headers = message.get("headers", [])
    if message["type"] != "websocket.accept":
        headers = _with_safety(path, headers)
    message["headers"] = [*headers, (b"x-request-id", request_id.encode())]


class _Refusals:
    """Those of one status. A line a second tells their number since the start: else their lines would be the load."""

    def __init__(self) -> None:
        self.number, self._said_at = 0, 0.0

    def due(self) -> bool:
        """Counts one; whether it gets a line."""
        self.number += 1
        now = time.monotonic()
        if now < self._said_at + _REFUSALS_SECONDS:
            return False
        self._said_at = now
        return True


def _with_safety(path: str, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers, and those that tell a browser to load nothing, guess nothing and keep nothing of an answer."""
    if path.startswith(_DOCUMENTATION):
        return [*headers, *_HEADERS, _OWN_LOADS]
    kept = _NOT_KEPT[0] in dict(headers)
    return [*headers, *_HEADERS, _NOTHING_LOADS] if kept else [*headers, *_HEADERS, _NOTHING_LOADS, _NOT_KEPT]


class BodyLimit:
    """Refuses a body over `limit` bytes, by its announced length or as soon as that much has arrived, and one that
    sends nothing for `stall_seconds`.
    """

    def __init__(self, app: ASGIApp, limit: int, stall_seconds: float) -> None:
        self._app = app
        self._limit = limit
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "")
        if announced.isdigit() and int(announced) > self._limit:
            await self._too_large().response(scope["path"])(scope, receive, send)
            return
        received, complete = 0, False

        async def counted() -> Message:
            nonlocal received, complete
            try:
                # What comes after the body is the client's going away: that may take as long as it likes.
                async with asyncio.timeout(None if complete else self._stall_seconds):
                    message = await receive()
            except TimeoutError as error:
                raise self._stalled() from error
            complete = not message.get("more_body", False)
            received += len(message.get("body", b""))
            if received > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, counted, send)

    def _too_large(self) -> ApiError:
        message = f"A request may have {self._limit / 1e6:.0f} MB. Send fewer pictures at once."
        return ApiError(413, "body_too_large", message, connection="close")

    def _stalled(self) -> ApiError:
        message = f"Nothing came for {self._stall_seconds:.0f} s. Send the request again."
        return ApiError(408, "upload_stalled", message, connection="close")
