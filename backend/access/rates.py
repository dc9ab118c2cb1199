"""How often a key may ask."""

from __future__ import annotations

import math
import time

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from contract.keys import Key

__all__ = ["Rates"]


class Rates:
    """Counts the requests of the last minute, for each key that has a limit. Of one process: a restart forgives."""

    def __init__(self) -> None:
        self._window = MovingWindowRateLimiter(MemoryStorage())

    def seconds_to_wait(self, key: Key) -> int:
        """0: the request counts and may go on. Else when the next may."""
        if key.requests_per_minute is None:
            return 0
        item = RateLimitItemPerMinute(key.requests_per_minute)
        if self._window.hit(item, key.id):
            return 0
        return max(1, math.ceil(self._window.get_window_stats(item, key.id).reset_time - time.time()))
