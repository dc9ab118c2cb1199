"""The live connections of a server: how many there may be, what is counted of them, and their end together."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from backend.api.errors import ApiError
from backend.live.ending import Ended, draining
from backend.live.session import Session
from backend.metrics import Metrics

__all__ = ["Sessions"]

log = structlog.get_logger()
_END_SECONDS = 1.0
_RETRY_SECONDS = "5"


class Sessions:
    """Of one server and one event loop. `most`: at once; half of them of one key."""

    def __init__(self, most: int, metrics: Metrics) -> None:
        self._most = most
        self._metrics = metrics
        self._open: set[Session] = set()
        self._held = 0
        self._held_by: Counter[str | None] = Counter()
        self._draining = False
        self._all_ended = asyncio.Event()
        metrics.live_sessions.set_function(lambda: self._held)

    def check_room(self, key: str | None) -> None:
        """Raises ApiError 429 where one more, or one more of this key (its id), would be too many."""
        if self._held >= self._most:
            raise _too_many(f"{self._most} live connections")
        of_one = max(self._most // 2, 1)
        if key is not None and self._held_by[key] >= of_one:
            raise _too_many(f"{of_one} live connections of this key")

    @contextmanager
    def room(self, key: str | None) -> Iterator[None]:
        """Room for one more. Raises ApiError 429."""
        self.check_room(key)
        self._held += 1
        self._held_by[key] += 1
        try:
            yield
        finally:
            self._held -= 1
            self._held_by[key] -= 1

    async def run(self, session: Session) -> None:
        """Runs it to its end, within its `room`."""
        started = time.perf_counter()
        self._open.add(session)
        if self._draining:  # what it needs was being loaded when the others were closed
            session.end(draining())
        try:
            ended = await session.run()
            self._note(session, ended, time.perf_counter() - started)
        finally:
            self._open.discard(session)
            if not self._open:
                self._all_ended.set()

    async def drain(self) -> None:
        """Closes all of them in words, also those that come later, and waits a moment until those are on their way."""
        self._draining = True
        for session in self._open:
            session.end(draining())
        if self._open:
            self._all_ended.clear()
            try:
                async with asyncio.timeout(_END_SECONDS):
                    await self._all_ended.wait()
            except TimeoutError:
                log.warning("live connections did not end in time", open=len(self._open))

    def _note(self, session: Session, ended: Ended, seconds: float) -> None:
        self._metrics.live_ended.labels(ended.why).inc()
        log.info("live ended", why=ended.why, seconds=round(seconds, 1), frames=dict(session.outcomes))


def _too_many(what: str) -> ApiError:
    message = f"{what} are open, and there may be no more. Try again later."
    return ApiError(429, "too_many_sessions", message, retry_after=_RETRY_SECONDS)
