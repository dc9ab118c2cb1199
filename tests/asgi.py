"""One request of /v1/predict as a server hands it to the application: no sockets, everything within one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, MutableMapping
from typing import Any

from starlette.types import ASGIApp

PIECE = 65_536
"""Bytes that arrive at once, as from a socket."""


def multipart(photograph: bytes) -> bytes:
    """The body that carries it, with the boundary x."""
    head = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\nContent-Type: image/jpeg\r\n\r\n'
    return head + photograph + b"\r\n--x--\r\n"


async def ask(app: ASGIApp, body: bytes) -> int:
    """POST /v1/predict as a server hands it over, without sockets. The status."""
    pieces = [body[start : start + PIECE] for start in range(0, len(body), PIECE)]
    messages: Iterator[MutableMapping[str, Any]] = iter(
        [{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces]
    )
    statuses: list[int] = []

    async def receive() -> MutableMapping[str, Any]:
        return next(messages, None) or await asyncio.Future()

    async def send(message: MutableMapping[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": "/v1/predict", "raw_path": b"/v1/predict", "query_string": b"", "root_path": "",
        "headers": [*headers, (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    await app(scope, receive, send)
    return statuses[0]
