"""One kept-alive connection of the load generator: a request at a time, its moments noted as they come."""

from __future__ import annotations

import asyncio
import time
from typing import cast

import httptools

HOLD_SECONDS = 0.5
"""How long a held body waits for an answer to its header."""


class Exchange:
    """A request and what became of it: a status, "dropped" (the connection broke) or "timeout".

    Moments are of `time.perf_counter`; `due` is when it should have been sent.
    """

    __slots__ = ("due", "ended", "first_byte", "hold", "outcome", "refused_before_body")

    def __init__(self, due: float, hold: bool = False) -> None:
        self.due = due
        self.hold = hold
        self.first_byte = 0.0
        self.ended = 0.0
        self.outcome = ""
        self.refused_before_body = False

    def end(self, outcome: str) -> None:
        """Notes the outcome and the moment."""
        self.outcome, self.ended = outcome, time.perf_counter()


class Connection(asyncio.Protocol):
    """Sends requests that are bytes already, and parses no more of an answer than where it ends."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._done: asyncio.Future[None] | None = None
        self._held = b""
        self.usable = False

    async def ask(self, exchange: Exchange, header: bytes, body: bytes, deadline: float) -> None:
        """Until the answer is complete, the connection broke, or `deadline` (perf_counter) has passed."""
        loop = asyncio.get_running_loop()
        transport = cast(asyncio.Transport, self._transport)
        self._parser = httptools.HttpResponseParser(self)
        self._exchange, self._done = exchange, loop.create_future()
        late = loop.call_later(max(deadline - time.perf_counter(), 0), self._give_up)
        release = None
        if exchange.hold:
            self._held = body
            transport.write(header)
            release = loop.call_later(HOLD_SECONDS, self._release)
        else:
            transport.write(header + body)
        await self._done
        late.cancel()
        if release:
            release.cancel()

    def close(self) -> None:
        """Ends the connection, without ceremony."""
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    def _release(self) -> None:
        if self._held and self._transport is not None:
            self._transport.write(self._held)
            self._held = b""

    def _give_up(self) -> None:
        self._finish("timeout")
        self.close()

    def _finish(self, outcome: str) -> None:
        if self._exchange is not None and self._done is not None and not self._done.done():
            self._exchange.end(outcome)
            self._done.set_result(None)

    # -- what asyncio calls ------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ready to be asked."""
        self._transport = cast(asyncio.Transport, transport)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Part of an answer."""
        if self._exchange is None:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._finish("dropped")
            self.close()

    def connection_lost(self, _: Exception | None) -> None:
        """Whatever was still awaited will not come."""
        self.usable = False
        self._finish("dropped")

    # -- what the parser calls ---------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """The status line has begun."""
        if self._exchange is not None and not self._exchange.first_byte:
            self._exchange.first_byte = time.perf_counter()

    def on_message_complete(self) -> None:
        """The whole answer is there."""
        if self._exchange is None or self._parser.get_status_code() < 200:
            return
        # An answer before the body was sent leaves the two sides at different places: the connection is of no more use.
        self._exchange.refused_before_body = bool(self._held) and self._parser.get_status_code() == 429
        self.usable = self._parser.should_keep_alive() and not self._held
        self._held = b""
        self._finish(str(self._parser.get_status_code()))
