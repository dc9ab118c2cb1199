"""Threads that make pixels for a device that takes batches, the most urgent ones first.

There a lane that decodes would keep the device waiting (docs/adr/0017-a-lane-decodes-what-it-classifies.md).
"""

from __future__ import annotations

import asyncio
import itertools
from concurrent.futures import Future, ThreadPoolExecutor
from queue import PriorityQueue

from contract.transform import Pixels
from inference.lanes import Make

__all__ = ["Makers"]


class Makers:
    """`count` threads, which come into being when they are first needed: on a CPU none ever is."""

    def __init__(self, count: int) -> None:
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="decode")
        self._numbers = itertools.count()
        self._waiting: PriorityQueue[tuple[int, int, Future[Pixels], Make]] = PriorityQueue()

    async def pixels(self, make: Make, priority: int) -> Pixels:
        """What `make` makes, uint8[H,W,3], in a thread. Raises what it raises; who is cancelled takes it along."""
        made: Future[Pixels] = Future()
        self._waiting.put((priority, next(self._numbers), made, make))
        self._threads.submit(self._make_one)  # as many calls as there are waiting, but each takes the most urgent one
        return await asyncio.wrap_future(made)

    def stop(self) -> None:
        """Begins nothing more, and waits for nothing."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _make_one(self) -> None:
        _, _, made, make = self._waiting.get_nowait()
        if not made.set_running_or_notify_cancel():
            return
        try:
            made.set_result(make())
        except Exception as error:  # noqa: BLE001  # it belongs to the caller
            made.set_exception(error)
