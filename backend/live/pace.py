"""How often frames may come, and how often they are answered."""

from __future__ import annotations

import asyncio

from backend.live.ending import too_often

FLOOD = 4
"""How many times the answered frames may come; the others are dropped."""
FLOOD_SECONDS = 3.0
"""How long twice that is borne."""


class Pace:
    """Lets `fps` frames a second through; one that was not used may be used later, so that jitter costs nothing."""

    def __init__(self, fps: float) -> None:
        self._period = 1 / fps
        self._due = 0.0

    async def wait(self) -> None:
        """Until the next frame may be answered."""
        now = asyncio.get_running_loop().time()
        self._due = max(self._due, now - self._period)
        if self._due > now:
            await asyncio.sleep(self._due - now)
        self._due += self._period


class Flood:
    """A bucket that leaks as many frames a second as may come, and that those of FLOOD_SECONDS fill."""

    def __init__(self, fps: float) -> None:
        self._leak = FLOOD * fps
        self._level = 0.0
        self._looked = 0.0

    def count(self) -> None:
        """Counts a frame. Raises Ended."""
        now = asyncio.get_running_loop().time()
        self._level = max(self._level - self._leak * (now - self._looked), 0.0) + 1
        self._looked = now
        if self._level > self._leak * FLOOD_SECONDS:
            raise too_often(self._leak, FLOOD_SECONDS)
