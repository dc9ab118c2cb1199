"""Bodies that must lie in memory as a whole, as JSON has to: bounded together, and parsed one after the other.

A few bytes of JSON can become a hundred in Python, and nothing else runs while it is parsed: so it is looked over
before, piece by piece. What it is for, long strings of base64, costs next to nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from pydantic_core import from_json

from backend.api.errors import ApiError
from inference.scheduler import Overloaded

T = TypeVar("T")

_SMALL = 65_536
_PIECE = 1 << 20
_GROWTH = 1.1
_MOST_STRINGS = 10_000
_LONGEST_NUMBER = 20
_ASCII = bytes(range(128))
_IN_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
# Digits become 0, and what a number may stand behind a comma. In base64 there is nothing of the latter.
_SHAPES = bytes.maketrans(b"123456789[:- \t\r\n", b"000000000,,,,,,,")
_LONG_NUMBER = b"," + b"0" * (_LONGEST_NUMBER + 1)


class BadJson(Exception):
    """A body that is no JSON, or one that would take too much to parse; the message says which."""


class Bodies:
    """The bodies in memory: together at most `most` bytes. Each must grow by a tenth within `seconds`."""

    def __init__(self, most: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._seconds = seconds
        self._clock = clock
        self._held = 0
        # One at a time: what is parsed is several times its text, and the interpreter's lock is held anyway.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="json")

    @asynccontextmanager
    async def whole(self, request: Request) -> AsyncIterator[bytearray]:
        """The request's body, until the block ends.

        Raises Overloaded as soon as the others leave no room for it, and ApiError 408.
        """
        body, held, looked_at, before = bytearray(), 0, self._clock(), 0
        try:
            async for piece in request.stream():
                if self._held + len(piece) > self._most:
                    raise Overloaded(retry_after=1)
                self._held += len(piece)
                held += len(piece)
                body += piece
                if self._clock() - looked_at > self._seconds:
                    # Else a few who send much at once and then a byte now and then would keep everybody else out.
                    if held < before * _GROWTH:
                        raise _too_slow()
                    looked_at, before = self._clock(), held
            yield body
        finally:
            self._held -= held

    async def parsed(self, text: bytearray, most_parts: int, make: Callable[[Any], T]) -> T:
        """What `make` makes of the JSON's value. Raises BadJson, and what `make` raises."""
        if len(text) < _SMALL:
            return make(_parse(text, most_parts))
        return await asyncio.get_running_loop().run_in_executor(self._parser, lambda: make(_parse(text, most_parts)))

    def close(self) -> None:
        """Ends the thread."""
        self._parser.shutdown(wait=False, cancel_futures=True)


def _too_slow() -> ApiError:
    message = "The body comes too slowly for one that must lie in memory. Send less at once, or files as multipart."
    return ApiError(408, "upload_stalled", message, connection="close")


def _parse(text: bytearray, most_parts: int) -> Any:
    _look_over(text, most_parts)
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise BadJson(f"{error}"[:200]) from error


def _look_over(text: bytearray, most_parts: int) -> None:
    """Raises BadJson where parsing would take memory out of proportion, or everybody's time."""
    parts = quotes = slow = others = 0
    long_number = False
    for start in range(0, len(text), _PIECE):
        piece = text[max(start - _LONGEST_NUMBER - 1, 0) : start + _PIECE]
        rest = piece.translate(None, _IN_BASE64)
        if not rest:
            continue
        parts += sum(rest.count(mark) for mark in (b",", b"[", b"{"))
        quotes += rest.count(b'"')
        slow += rest.count(b"\\") + (0 if rest.isascii() else len(rest.translate(None, _ASCII)))
        others += len(rest)
        if parts > most_parts:
            raise BadJson(f"it has more than {most_parts} parts")
        if quotes > 2 * _MOST_STRINGS:
            raise BadJson(f"it has more than {_MOST_STRINGS} strings")
        if slow > _MOST_STRINGS + len(text) // 32:
            raise BadJson("it has too many escapes, or letters outside of ASCII")
        if others > 32 * most_parts + len(text) // 16:
            raise BadJson("it has too many spaces, or other characters that say nothing")
        long_number = long_number or _LONG_NUMBER in piece.translate(_SHAPES)
    # Names and addresses may have as many digits as they like. Quotes are known to be few by now.
    if long_number and _LONG_NUMBER in _without_strings(text).translate(_SHAPES):
        raise BadJson(f"a number in it has more than {_LONGEST_NUMBER} digits")


def _without_strings(text: bytearray) -> bytearray:
    """What stands outside of quotes."""
    if b"\\" in text:
        text = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    return bytearray(b'"').join(text.split(b'"')[::2])
