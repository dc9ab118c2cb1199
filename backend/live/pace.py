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


class Bucket:
    """Loses `leak` a second, and holds `most`."""

    def __init__(self, leak: float, most: float) -> None:
        self._leak = leak
        self._most = most
        self._level = 0.0
        self._looked = 0.0

    def holds(self, more: float, now: float) -> bool:
        """Puts `more` into it, at `now` in seconds; whether that is not too much."""
        self._level = max(self._level - self._leak * (now - self._looked), 0.0) + more
        self._looked = now
        return self._level <= self._most


class Flood:
    """As many frames a second as may come, and twice that for FLOOD_SECONDS. One of `frame_bytes` counts as two."""

    def __init__(self, fps: float, frame_bytes: int) -> None:
        self._most = FLOOD * fps
        self._frame_bytes = frame_bytes
        self._bucket = Bucket(self._most, self._most * FLOOD_SECONDS)

    def count(self, size: int) -> None:
        """Counts a frame of so many bytes. Raises Ended."""
        if not self._bucket.holds(1 + size / self._frame_bytes, asyncio.get_running_loop().time()):
            raise too_often(self._most, FLOOD_SECONDS)
