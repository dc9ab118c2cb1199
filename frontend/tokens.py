"""What the browser is handed in place of the page's key: tokens for an hour, each for one batch, or for the camera."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Lock

from frontend.api import LOOK_TIMEOUT, Api, ApiError, read

__all__ = ["Token", "Tokens"]

FRESH_SECONDS = 1500
"""How long one is handed out: whoever gets it last still has half an hour."""
_GOOD_SECONDS = 3500
"""Nearly the hour: until then one is handed out still where no other is to be had."""
_AGAIN_SECONDS = 3
"""After which one that was not to be had is asked for again."""
_MOST = 200


@dataclass(frozen=True)
class Token:
    """`until`: when it is time for another; `end`: when the server takes it no more; both by the clock of `Tokens`. No
    words: none is needed, or none to be had."""

    words: str = ""
    batch: str = ""
    until: float = float("inf")
    end: float = float("inf")


@dataclass
class Tokens:
    """Asks for them by the page's key. Without a key nothing is asked: then the server needs none. Never raises."""

    api: Api
    clock: Callable[[], float] = time.monotonic
    _results: dict[str, Token] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    def upload(self, last: Token | None) -> Token:
        """One for the next upload: the last one while it is fresh, or good still and no other to be had."""
        return last if last and self.clock() < last.until else self._ask(last, purpose="upload")

    def live(self, last: Token | None) -> Token:
        """One for the next live connection: the last one while it is fresh, or good still and no other to be had."""
        return last if last and self.clock() < last.until else self._ask(last, purpose="live")

    def results(self, batch: str) -> Token:
        """One for the results of this batch; the same for everybody who looks at them."""
        with self._lock:
            known = self._results.get(batch)
        if known is None or self.clock() >= known.until:
            known = self._ask(known, purpose="results", batch=batch)
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

    def _ask(self, last: Token | None, **wanted: str) -> Token:
        if not self.api.has_key:
            return Token()
        try:
            body = self.api.send("POST", "/v1/tokens", json=wanted, timeout=LOOK_TIMEOUT)
            until, end = self.clock() + FRESH_SECONDS, self.clock() + _GOOD_SECONDS
            return read(lambda: Token(str(body["token"]), str(body["batch"] or ""), until, end))
        except ApiError as error:
            if getattr(error, "code", "") == "keys_off":  # for good
                return Token()
            good = last if last and self.clock() < last.end else Token()
            return replace(good, until=self.clock() + _AGAIN_SECONDS)
