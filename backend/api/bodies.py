"""Bodies that must lie in memory as a whole, as JSON has to: bounded together, and parsed one after the other.

A few bytes of JSON can become a hundred in Python, so its parts are counted before it is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from pydantic_core import from_json

from inference.scheduler import Overloaded

T = TypeVar("T")

_SMALL = 65_536


class BadJson(Exception):
    """A body that is no JSON, or is of more parts than it may have; the message says which."""


class Bodies:
    """The bodies in memory: together at most `most` bytes."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        # One at a time: what is parsed is several times its text, and the interpreter's lock is held anyway.
        self._parser = ThreadPoolExecutor(1, thread_name_prefix="json")

    @asynccontextmanager
    async def whole(self, request: Request) -> AsyncIterator[bytearray]:
        """The request's body, until the block ends. Raises Overloaded as soon as the others leave no room for it."""
        body, held = bytearray(), 0
        try:
            async for piece in request.stream():
                if self._held + len(piece) > self._most:
                    raise Overloaded(retry_after=1)
                self._held += len(piece)
                held += len(piece)
                body += piece
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


def _parse(text: bytearray, most_parts: int) -> Any:
    if sum(text.count(mark) for mark in (b",", b"[", b"{")) > most_parts:
        raise BadJson(f"it has more than {most_parts} parts")
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise BadJson(f"{error}"[:200]) from error
