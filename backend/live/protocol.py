"""uvicorn's WebSockets, for clients that may be careless or hostile: what one of them leaves unread is bounded.

As it comes, uvicorn waits for a client to read before it sends a close frame, keeps a connection open until the last
byte was read, answers pings whether or not anybody reads the answers, collects a message's pieces without counting
them, and parses all of a read before it looks at any of it.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio.transports import BaseTransport
from typing import TYPE_CHECKING

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from backend.live.pace import Bucket

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

__all__ = ["LiveProtocol"]

CLOSE_SECONDS = 5.0
"""How long a client may take to read what is left, the close frame as the last of it."""
_UNREAD_BYTES = 65_536
"""What the system, and again uvicorn, holds of answers that were not read. Else it would be megabytes and minutes."""
_MOST_PIECES = 128
"""Of one message. An empty one counts nothing against the message's size."""
_STEP = 4096
"""How many bytes are parsed at a time: 700 empty pings, some milliseconds."""
_SMALL = 1024
"""A piece or a message of fewer bytes costs more to parse than to send."""
_SMALL_A_SECOND, _MOST_SMALL = 20, 100
"""How many of them are borne, pings and pongs among them; the second: at once."""


class LiveProtocol(WebSocketsSansIOProtocol):
    """One connection. Whatever its client does, it has ended a few seconds after the application's part of it."""

    def connection_made(self, transport: BaseTransport) -> None:
        """What uvicorn calls with the socket of a connection that is to be upgraded."""
        super().connection_made(transport)
        self.close_timeout = CLOSE_SECONDS
        self._small = Bucket(_SMALL_A_SECOND, _MOST_SMALL)
        connection = transport.get_extra_info("socket")
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _UNREAD_BYTES)

    def data_received(self, data: bytes) -> None:
        """What uvicorn calls with what was read, which may be a quarter of a megabyte."""
        for start in range(0, len(data), _STEP):
            super().data_received(data[start : start + _STEP])

    async def send(self, message: ASGISendEvent) -> None:
        """What the application calls. A close frame waits for nobody: it is small, and the last one."""
        if message["type"] == "websocket.close":
            self.writable.set()
        await super().send(message)
        if self.close_sent:  # also by an answer in HTTP, which uvicorn would take for none, and say so in the log
            self.handshake_complete = True

    def on_task_complete(self, task: asyncio.Task[None]) -> None:
        """What uvicorn calls when the application is done with the connection."""
        super().on_task_complete(task)
        if not self.disconnected:
            self.loop.call_later(self.close_timeout, self.transport.abort)

    def handle_ping(self) -> None:
        """What uvicorn calls to have the pong sent that lies ready."""
        if self._bears_one() and self.transport.get_write_buffer_size() < _UNREAD_BYTES:
            super().handle_ping()
        else:
            self.conn.data_to_send()  # it does not read, or is to send no more: the pong is not kept for it

    def handle_pong(self, event: Frame) -> None:
        """What uvicorn calls with a pong, whether or not a ping was sent."""
        if self._bears_one():
            super().handle_pong(event)

    def handle_bytes(self, event: Frame) -> None:
        """What uvicorn calls with a message, or its first piece."""
        if self._bears(event):
            super().handle_bytes(event)

    def handle_text(self, event: Frame) -> None:
        """The same, of text."""
        if self._bears(event):
            super().handle_text(event)

    def _bears(self, event: Frame) -> bool:
        """Counts a small message that came together with others, which nobody has looked at yet."""
        return len(event.data) >= _SMALL or not self.read_paused or self._bears_one()

    def _bears_one(self) -> bool:
        """Counts one of what is small. False where it is one too many, or the connection was closed before."""
        if not self._small.holds(1, self.loop.time()):
            self.conn.fail(1008, f"rate: More than {_SMALL_A_SECOND} pings or small pieces a second came. Send fewer.")
            self.handle_parser_exception()
        return not self.close_sent

    def handle_cont(self, event: Frame) -> None:
        """What uvicorn calls with a piece of a message."""
        if self.close_sent:
            return
        if len(event.data) < _SMALL and not event.fin and not self._bears_one():  # the last one ends a frame: counted
            return
        if len(self.frames) >= _MOST_PIECES:
            self.conn.fail(1009, f"pieces: A message may come in {_MOST_PIECES} pieces.")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_parser_exception(self) -> None:
        """What uvicorn calls with every piece that comes once a message could not be taken, as one that is too large.

        It closes at once, and the client, which is sending still, gets a reset in place of the close frame. Here the
        rest is read and thrown away, until the client has seen that frame or its time is over.
        """
        if self.close_sent:
            return
        reason = self.conn.close_sent
        self.queue.put_nowait({"type": "websocket.disconnect", "code": reason.code if reason else 1006, "reason": ""})
        self.close_sent = True
        if not self.handshake_complete:  # no close frame can go before the upgrade
            self.transport.abort()
            return
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
