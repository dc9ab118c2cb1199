"""The end of a server behind a proxy: it says that it goes while it still answers, so that no request is lost."""

from __future__ import annotations

import signal
import socket
import time
from types import FrameType

import uvicorn
from fastapi import FastAPI


class DrainingServer(uvicorn.Server):
    """After a SIGTERM it serves on for `seconds`, unready, and only then stops. A second one, and Ctrl-C: at once."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._seconds = seconds
        self._until: float | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What uvicorn has the process do at a signal."""
        if sig != signal.SIGTERM or not self._seconds or self._until is not None:
            super().handle_exit(sig, frame)
            return
        self._until = time.monotonic() + self._seconds
        self._app.state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """True when it is to stop. uvicorn asks ten times a second."""
        if self._until is not None and time.monotonic() >= self._until and not self.should_exit:
            super().handle_exit(signal.SIGTERM, None)
        if self._app.state.draining:
            await self._app.state.live.drain()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """What uvicorn does once it is to stop; before that it has live connections closed in words."""
        await self._app.state.live.drain()
        await super().shutdown(sockets)
