"""What the server lets a camera do.

Asked by GET, for all modes at once: a browser's script is not told why its WebSocket is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from frontend.api import LOOK_TIMEOUT, Api, ApiError, Refused, read
from frontend.tokens import Token, Tokens

__all__ = ["MODES", "Live", "Offer", "title"]

MODES = ("classify", "detect", "detect+classify")
LOOK_EVERY = 10.0
"""Seconds for which a look counts as fresh."""


@dataclass(frozen=True)
class Offer:
    """The server's words for what it refuses, none for what it lets in: of each mode, and of the filter."""

    modes: Mapping[str, str] = field(default_factory=lambda: dict.fromkeys(MODES, ""))
    filter: str = ""

    @property
    def closed(self) -> str:
        """Why nothing at all is let in, or nothing."""
        return self.modes[MODES[0]] if all(self.modes.values()) else ""


@dataclass
class Live:
    """The state of one browser session at the page *Live*. `changes` counts what a page drawn earlier does not show."""

    api: Api
    tokens: Tokens
    clock: Callable[[], float] = time.monotonic
    offer: Offer = field(default_factory=Offer)
    changes: int = 0
    _token: Token | None = field(default=None, repr=False)
    _looked: float = float("-inf")

    def look(self, origin: str) -> None:
        """Looks what is offered to a page of that origin, unless that was done a moment ago. Never raises."""
        if self._token and self.clock() >= self._token.until:
            before, self._token = self._token, self.tokens.live(self._token)
            if self._token.words != before.words:
                self.changes += 1  # what the browser was handed is over soon: drawn anew, it gets this one
        if self.clock() - self._looked < LOOK_EVERY:
            return
        self._looked = self.clock()
        seen = self._seen(origin)
        if seen != self.offer:
            self.offer = seen
            self.changes += 1

    def token(self) -> str:
        """What the browser opens its WebSocket by; empty where none is needed."""
        self._token = self.tokens.live(self._token)
        return self._token.words

    def _seen(self, origin: str) -> Offer:
        """What the server says. One that is busy or away says nothing about it: then as it was."""
        headers = {"Origin": origin} if origin else {}
        try:
            told = self.api.send("GET", "/v1/live/modes", headers=headers, timeout=LOOK_TIMEOUT)
            return read(lambda: Offer({mode: _words(told["modes"][mode]) for mode in MODES}, _words(told["filter"])))
        except Refused as refused:
            return Offer(dict.fromkeys(MODES, refused.message))
        except ApiError:
            return self.offer


def _words(refusal: Mapping[str, Any] | None) -> str:
    """Of an error of the server's; none where there is none."""
    return str(refusal["message"]) if refusal else ""


def title() -> str:
    """What the page is for, in two lines."""
    words = "Point a camera at things and read what they are. Frames are answered one by one; the newest wins."
    return f'<div class="nf-title"><h1>What does the camera see?</h1><p>{words}</p></div>'
