"""The places that a request holds in the queue while its pictures are on their way, and work that ends with its caller.

Places come before work: who finds the queue full is refused before the body is read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

from backend.predictor import Predictor
from inference.scheduler import Priority

PLACE_SECONDS = 1.0
"""How long a request holds a place for pictures that are on their way: else slow senders would shut others out."""

T = TypeVar("T")


@contextmanager
def one_place(predictor: Predictor) -> Iterator[Callable[[int], None]]:
    """Holds a place for a second at the most, until the function that it gives is told how many are held from then on.

    Raises Overloaded or Closed; so does the function.
    """
    with predictor.receiving(), predictor.scheduler.reserve(1, Priority.INTERACTIVE) as places:
        slow = asyncio.get_running_loop().call_later(PLACE_SECONDS, places.resize, 0)

        def arrived(images: int) -> None:
            slow.cancel()
            places.resize(images)

        try:
            yield arrived
        finally:
            slow.cancel()


async def unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is given up as soon as the client goes away, and has ended when this does."""
    task, gone = asyncio.ensure_future(work), asyncio.create_task(_wait_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        gone.cancel()
        if not task.done():  # or its place would be another's while it still works
            task.cancel()
            await asyncio.wait({task})


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """The results, in order. As soon as one of them fails the others are given up, and have ended when it is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed
    return [task.result() for task in tasks]


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
