"""What the browser is handed in place of the page's key: tokens for an hour, each for one batch, or for the camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from frontend.api import LOOK_TIMEOUT, Api, ApiError, read

__all__ = ["Token", "Tokens"]

FRESH_SECONDS = 1500
"""How long one is handed out: whoever gets it last still has half an hour."""
_MOST = 200


@dataclass(frozen=True)
class Token:
    """`until`: when it is time for another, by the clock of `Tokens`. No words: none is needed, or none to be had."""

    words: str = ""
    batch: str = ""
    until: float = float("inf")


@dataclass
class Tokens:
    """Asks for them by the page's key. Without a key nothing is asked: then the server needs none. Never raises."""

    api: Api
    clock: Callable[[], float] = time.monotonic
    _results: dict[str, Token] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def upload(self, last: Token | None) -> Token:
        """One for the next upload: the last one while it is fresh."""
        return last if last and self.clock() < last.until else self._ask(purpose="upload")

    def live(self, last: Token | None) -> Token:
        """One for the next live connection: the last one while it is fresh."""
        return last if last and self.clock() < last.until else self._ask(purpose="live")

    def results(self, batch: str) -> Token:
        """One for the results of this batch; the same for everybody who looks at them."""
        with self._lock:
            known = self._results.get(batch)
        if known is None or self.clock() >= known.until:
            known = self._ask(purpose="results", batch=batch)
            with self._lock:
                while len(self._results) >= _MOST:
                    del self._results[next(iter(self._results))]
                self._results[batch] = known
        return known

    def is_over(self, batch: str) -> bool:
        """Whether links and pictures of this batch, as they are drawn, want another."""
        with self._lock:
            known = self._results.get(batch)
        return known is not None and self.clock() >= known.until

    def _ask(self, **wanted: str) -> Token:
        if not self.api.has_key:
            return Token()
        try:
            body = self.api.send("POST", "/v1/tokens", json=wanted, timeout=LOOK_TIMEOUT)
            return read(lambda: Token(str(body["token"]), str(body["batch"] or ""), self.clock() + FRESH_SECONDS))
        except ApiError as error:
            # A server without keys says so for good; one that is away is asked again soon.
            return Token(until=float("inf") if getattr(error, "code", "") == "keys_off" else self.clock() + 15)
