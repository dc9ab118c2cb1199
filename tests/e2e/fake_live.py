"""A tiny real server that speaks the protocol of docs/live.md, says what a test wants, and closes when it wants."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from tests.frontend.fake_server import MODELS

LABELS = [{"label": "cup", "index": 1, "probability": 0.75}, {"label": "pot", "index": 2, "probability": 0.125}]
BOXES = [
    {"box": [0.125, 0.25, 0.375, 0.75], "label": "cup", "index": 0, "probability": 0.9, "track": 0},
    {"box": [0.5, 0.5, 0.75, 0.875], "label": "a pot of flowers", "index": 0, "probability": 0.6, "track": 3},
]
Refusal = tuple[int, str, str]
"""Status, code and message."""


class FakeLive:
    """One server. Everything a test may set is as new after `reset`."""

    def __init__(self) -> None:
        self.reset()
        routes = [
            Route("/readyz", lambda _: JSONResponse({"status": "ready"})),
            Route("/v1/models", lambda _: JSONResponse({"models": MODELS})),
            Route("/v1/live", self._why_not),
            Route("/v1/live/modes", self._modes),
            WebSocketRoute("/v1/live", self._speak),
        ]
        app = Starlette(routes=routes, middleware=[Middleware(CORSMiddleware, allow_origins=["*"])])
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", ws="websockets-sansio", lifespan="off"))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        while not self._server.started:
            time.sleep(0.005)

    def reset(self) -> None:
        self.refused: dict[str, Refusal] = {}
        """By mode, or `filter`."""
        self.shut: Refusal | None = None
        """What every WebSocket is refused by, and every GET."""
        self.said: Callable[[dict[str, str]], dict[str, Any]] = good
        """The answer by the query, without its frame and figures."""
        self.dropped = 0
        self.held = False
        """While it is, frames are not answered."""
        self.opened: list[dict[str, str]] = []
        self.frames: list[bytes] = []
        self.unanswered = self.most_unanswered = 0
        self._open: set[WebSocket] = set()

    @property
    def connected(self) -> int:
        """How many WebSockets are open."""
        return len(self._open)

    def end(self, code: int, reason: str = "") -> None:
        """Closes all that are open."""
        for each in list(self._open):
            asyncio.run_coroutine_threadsafe(each.close(code, reason), self._loop).result(10)

    def close(self) -> None:
        """Frees the port."""
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self._server.serve([self._listener])

    def _against(self, query: dict[str, str]) -> Refusal:
        named = self.refused.get("filter") if query.get("filter") else None
        return self.shut or self.refused.get(query["mode"]) or named or (426, "upgrade_required", "Open a WebSocket.")

    async def _why_not(self, request: Request) -> Response:
        return _error(self._against(dict(request.query_params)))

    async def _modes(self, request: Request) -> Response:
        if self.shut:
            return _error(self.shut)
        modes = ("classify", "detect", "detect+classify")
        told = {name: _detail(self.refused.get(name)) for name in (*modes, "filter")}
        return JSONResponse({"filter": told.pop("filter"), "modes": told})

    async def _speak(self, socket: WebSocket) -> None:
        query = dict(socket.query_params)
        self.opened.append(query)
        if self._against(query)[0] != 426:
            await socket.send_denial_response(_error(self._against(query)))
            return
        await socket.accept()
        self._open.add(socket)
        queue: asyncio.Queue[int] = asyncio.Queue()
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._read(socket, queue))
                both.create_task(self._answer(socket, query, queue))
        except* (WebSocketDisconnect, RuntimeError):
            pass
        finally:
            self._open.discard(socket)

    async def _read(self, socket: WebSocket, queue: asyncio.Queue[int]) -> None:
        while True:
            self.frames.append(await socket.receive_bytes())
            self.unanswered += 1
            self.most_unanswered = max(self.most_unanswered, self.unanswered)
            queue.put_nowait(len(self.frames))

    async def _answer(self, socket: WebSocket, query: dict[str, str], queue: asyncio.Queue[int]) -> None:
        while True:
            number = await queue.get()
            while self.held:
                await asyncio.sleep(0.01)
            self.unanswered -= 1
            told = {"frame": number, **self.said(query), "latency_ms": 12.4, "dropped": self.dropped}
            await socket.send_json(told)


def good(query: dict[str, str]) -> dict[str, Any]:
    """What each mode is answered with."""
    if query["mode"] == "classify":
        return {"labels": LABELS}
    boxes = BOXES if "classify" in query["mode"] else [{**box, "track": None} for box in BOXES]
    return {"boxes": boxes, "detector": "fake-detector"}


def _error(refusal: Refusal) -> Response:
    return JSONResponse({"error": _detail(refusal)}, refusal[0])


def _detail(refusal: Refusal | None) -> dict[str, str] | None:
    return {"code": refusal[1], "message": refusal[2]} if refusal else None
