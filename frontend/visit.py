"""One person's visit: the pictures, what is known of the server, and the patience with which it is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass, field, replace
from threading import Lock

from frontend.api import Answer, Api, ApiError, Busy, Refused, Status, VariantName
from frontend.pictures import Picture, Tray

__all__ = ["ASKED_TOP_K", "Asking", "Patience", "Visit"]

ASKED_TOP_K = 10
"""Asked for once; showing fewer is a slice and sends nothing."""

LOOK_EVERY = 2.0
"""Seconds for which a look at the server counts as fresh."""


@dataclass
class Patience:
    """When to ask again after the server had no time, and when to stop and let the person decide."""

    attempts: int = 5
    pause: float = 2.0
    failed: int = 0
    until: float = 0.0
    words: str = ""

    @property
    def spent(self) -> bool:
        """Whether only the person may try again."""
        return self.failed >= self.attempts

    def due(self, now: float) -> bool:
        """Whether a request may go out now."""
        return not self.spent and now >= self.until

    def later(self, now: float, error: ApiError) -> None:
        """Wait as long as the server asked for; a refusal is final at once."""
        self.words = error.message
        self.failed = self.attempts if isinstance(error, Refused) else self.failed + 1
        self.until = now + (error.retry_after if isinstance(error, Busy) else self.pause)

    def reset(self) -> None:
        """Start afresh."""
        self.failed, self.until, self.words = 0, 0.0, ""


@dataclass(frozen=True)
class Asking:
    """A request on its way."""

    variant: VariantName
    pictures: list[Picture]
    coming: Future[list[Answer]]


@dataclass
class Visit:
    """The state of one browser session.

    Streamlit starts a new run in a new thread while the old one still goes on to its next Streamlit call, so two
    threads may be here at once. `changes` counts what a page drawn earlier does not show yet.
    """

    api: Api
    tray: Tray
    workers: Executor
    status: Status = field(default_factory=Status)
    patience: Patience = field(default_factory=Patience)
    clock: Callable[[], float] = time.monotonic
    asked: VariantName | None = None
    asking: Asking | None = None
    drop_round: int = 0
    camera_open: bool = False
    snapshots: int = 0
    changes: int = 0
    _looked: float = float("-inf")
    _lock: Lock = field(default_factory=Lock, repr=False)

    def look(self) -> None:
        """Looks at the server unless that was done a moment ago."""
        if self.clock() - self._looked < LOOK_EVERY:
            return
        before, seen = self.status, self.api.look()
        # While the server is away its models stay known, and with them the answers that are already there.
        self.status = seen if seen.state == "ready" else replace(seen, models=before.models)
        self._looked = self.clock()
        if self.status.state != before.state:
            self.patience.reset()
        if self.status != before:
            self.changes += 1

    def look_again(self) -> None:
        """The last look is out of date: something has just failed."""
        self._looked = float("-inf")

    def choose(self, variant: VariantName | None) -> None:
        """The variant that the waiting pictures are for; a new choice deserves new patience."""
        if variant != self.asked:
            self.asked = variant
            self.patience.reset()

    @property
    def due(self) -> bool:
        """Whether there is something to ask, someone to answer it, and the time has come."""
        if self.status.state != "ready" or self.asked is None or self.asking is not None:
            return False
        return self.patience.due(self.clock()) and bool(self.tray.waiting(self.asked))

    def ask(self) -> None:
        """Sends the waiting pictures as one request, beside the run: a slow server must not hold the page."""
        with self._lock:
            if not self.due or self.asked is None:
                return
            pictures = self.tray.waiting(self.asked)
            files = [(picture.name, picture.data) for picture in pictures]
            coming = self.workers.submit(self.api.predict, self.asked, files, ASKED_TOP_K)
            self.asking = Asking(self.asked, pictures, coming)

    def collect(self, seconds: float = 0) -> None:
        """Takes in the answers, or the error, of what was asked for; waits this long for them."""
        asking = self.asking
        if asking is None or not wait([asking.coming], seconds).done:
            return
        with self._lock:
            if self.asking is not asking:
                return
            self.asking = None
            self.changes += 1
            try:
                self.tray.keep(asking.variant, asking.pictures, asking.coming.result())
                self.patience.reset()
            except ApiError as error:
                self.patience.later(self.clock(), error)
                self.look_again()
