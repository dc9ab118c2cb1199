"""One camera's connection: frames come in, the newest wins, one is answered at a time.

    socket ──reader──> one frame that waits ──worker──> look ──> socket
                       (a newer one takes its place)

Nobody waits for anybody else: a session has one frame in the scheduler at the most, and answers one that does not read
only for so long. In memory are one frame that arrives, one that waits and one at work.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from starlette.types import Message
from starlette.websockets import WebSocket, WebSocketDisconnect

from backend.api.errors import translate
from backend.live.ending import Ended, failed, gone, idle, not_binary, revoked, slow_reader
from backend.live.limits import LiveLimits
from backend.live.pace import Flood, Pace
from contract.transform import BadImage
from inference.classifier import WrongAnswer
from inference.scheduler import Closed, Overloaded

__all__ = ["Look", "Seen", "Session"]

log = structlog.get_logger()
Seen = dict[str, Any]
Look = Callable[[bytes], Awaitable[Seen]]
"""What is on a frame, as JSON values: `labels` or `boxes`. Raises BadImage, WrongAnswer or Overloaded: of the frame."""

DROPPED = "dropped"


@dataclass(frozen=True)
class _Frame:
    """One that came. `number`: from 1, in the order of their coming; `arrived`: of time.perf_counter."""

    number: int
    content: bytes | BadImage
    arrived: float


class Session:
    """Of one event loop, and to be run once. `counted` is told each frame's outcome: ok, an error's code, dropped."""

    def __init__(
        self,
        socket: WebSocket,
        look: Look,
        limits: LiveLimits,
        counted: Callable[[str, float], None] = lambda *_: None,
        allowed: Callable[[], bool] = lambda: True,
    ) -> None:
        self.outcomes: Counter[str] = Counter()
        self._socket = socket
        self._look = look
        self._limits = limits
        self._counted = counted
        self._allowed = allowed
        self._came = 0
        self._answered = 0
        self._waiting: _Frame | None = None
        self._at_work: _Frame | None = None
        self._arrived = asyncio.Event()
        self._flood = Flood(limits.fps, limits.frame_bytes)
        self._quiet_since = asyncio.get_running_loop().time()
        self._told: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> Ended:
        """Accepts the connection and answers its frames, until it ends; why it did."""
        try:
            await self._socket.accept()
        except (OSError, WebSocketDisconnect):
            return gone()
        parts = [asyncio.create_task(self._read()), asyncio.create_task(self._work())]
        try:
            await asyncio.wait({*parts, self._told}, return_when=asyncio.FIRST_COMPLETED)
            first = next(part for part in (self._told, *parts) if part.done())
        finally:
            for part in parts:
                part.cancel()
            # Or a frame's place would be another's while it is still being answered.
            await asyncio.gather(*parts, return_exceptions=True)
            for frame in filter(None, (self._waiting, self._at_work)):
                self._count(DROPPED, frame)
            if not self._told.cancel():
                self._told.exception()  # or the loop complains that nobody asked
        ended = _why(first)
        await self._close(ended)
        return ended

    def end(self, why: Ended) -> None:
        """Ends it from outside."""
        if not self._told.done():
            self._told.set_exception(why)

    # -- the reader --------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            message = await self._message()
            if message["type"] == "websocket.disconnect":
                raise gone()
            data = message.get("bytes")
            if data is None:
                raise not_binary()
            self._flood.count(len(data))
            self._take(data)

    async def _message(self) -> Message:
        """The next one. Raises Ended once neither it nor an answer has come for too long."""
        clock, most = asyncio.get_running_loop().time, self._limits.idle_seconds
        while True:
            try:
                async with asyncio.timeout_at(self._quiet_since + most):
                    message = await self._socket.receive()
            except TimeoutError:
                if self._waiting or self._at_work:
                    self._quiet_since = clock()  # it waits for us
                elif clock() >= self._quiet_since + most:
                    raise idle(most) from None
            else:
                self._quiet_since = clock()
                return message

    def _take(self, data: bytes) -> None:
        self._came += 1
        if self._waiting:
            self._count(DROPPED, self._waiting)
        self._waiting = _Frame(self._came, self._checked(data), time.perf_counter())
        self._arrived.set()

    def _checked(self, data: bytes) -> bytes | BadImage:
        most = self._limits.frame_bytes
        if len(data) <= most:
            return data
        message = f"The frame has {len(data) / 1e6:.1f} MB; {most / 1e6:g} MB is the most. Send smaller ones."
        return BadImage("too_many_bytes", message)

    # -- the worker --------------------------------------------------------------------------------------------

    async def _work(self) -> None:
        pace = Pace(self._limits.fps)
        while True:
            await self._arrived.wait()
            await pace.wait()
            if not self._allowed():
                raise revoked()
            frame, self._waiting = self._waiting, None
            self._arrived.clear()
            assert frame is not None  # noqa: S101  # what has arrived waits until it is taken here
            self._at_work = frame
            outcome, seen = await self._answer(frame)
            await self._write(frame, seen)
            self._at_work = None
            self._quiet_since = asyncio.get_running_loop().time()
            self._count(outcome, frame)

    async def _answer(self, frame: _Frame) -> tuple[str, Seen]:
        """The outcome, and what the answer says. Raises Ended where no other frame would fare better."""
        try:
            if isinstance(frame.content, BadImage):
                raise frame.content
            return "ok", await self._look(frame.content)
        except BadImage as bad:
            code, message = bad.code, bad.message
        except WrongAnswer as wrong:
            code, message = "no_answer", str(wrong)
        except Overloaded as full:
            code, message = "overloaded", translate(full).message
        except Closed as closed:  # a server that stops has ended its sessions before: a lane has died
            raise failed("not_ready", translate(closed).message) from None
        except Exception as error:
            refused = translate(error)
            if refused.code == "internal":
                log.exception("a live frame failed")
            raise failed(refused.code, refused.message) from error
        return code, {"error": {"code": code, "message": message}}

    async def _write(self, frame: _Frame, seen: Seen) -> None:
        self._answered += 1
        latency = round((time.perf_counter() - frame.arrived) * 1000, 1)
        dropped = frame.number - self._answered
        answer = {"frame": frame.number, **seen, "latency_ms": latency, "dropped": dropped}
        try:
            async with asyncio.timeout(self._limits.write_seconds):
                await self._socket.send_json(answer)
        except TimeoutError:
            raise slow_reader(self._limits.write_seconds) from None
        except (WebSocketDisconnect, RuntimeError):  # the second: it was closed beneath us, as by a ping without answer
            raise gone() from None

    def _count(self, outcome: str, frame: _Frame) -> None:
        self.outcomes[outcome] += 1
        self._counted(outcome, time.perf_counter() - frame.arrived)

    async def _close(self, ended: Ended) -> None:
        if ended.code is None:
            return
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(ended.code, ended.reason)  # which waits for nobody: backend.live.protocol


def _why(part: asyncio.Future[None]) -> Ended:
    """Raises what ended it where that is no end of a session."""
    error = part.exception()
    if isinstance(error, Ended):
        return error
    raise error or RuntimeError("a part of a live session ended by itself")
