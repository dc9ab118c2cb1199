"""Threads that wait for S3, apart from those of all other routes: a storage that hangs takes nothing else along."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial, wraps
from typing import Any, TypeVar

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from fastapi.routing import APIRoute

__all__ = ["MOST", "BatchRoute", "in_batch_thread", "pieces"]

MOST = 16
"""How many of them may wait at once; the requests behind them wait in the event loop."""

T = TypeVar("T")
_limiter: RunVar[CapacityLimiter] = RunVar("batch_threads")  # one an event loop, as a limiter must be


class BatchRoute(APIRoute):
    """A route whose function blocks, and is called in one of these threads."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        super().__init__(path, endpoint if inspect.iscoroutinefunction(endpoint) else _in_thread(endpoint), **more)


async def in_batch_thread(call: Callable[[], T]) -> T:
    """What `call` returns, in one of these threads."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(MOST)
        _limiter.set(limiter)
    return await to_thread.run_sync(call, limiter=limiter)


async def pieces(blocking: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The same pieces, each of them waited for in one of these threads."""
    while (piece := await in_batch_thread(partial(next, blocking, None))) is not None:
        yield piece


def _in_thread(endpoint: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(endpoint)
    async def call(**given: Any) -> Any:
        return await in_batch_thread(partial(endpoint, **given))

    return call
