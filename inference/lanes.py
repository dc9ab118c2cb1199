"""The threads that compute: each takes the most urgent work there is, makes its pixels if need be, and classifies them.

A thread goes from one image to the next without the event loop in between: a loop that is busy with sockets must not
keep a processor waiting. On a CPU there is one a processor, so that decoding and inference never compete for one.

Of two lanes or more one takes no slow work, which is a detector's: nobody's picture waits for a whole pass of one.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np

from contract.transform import Pixels
from inference.classifier import Classifier, DeviceLost, Logits

Make = Callable[[], Pixels]
"""Makes the pixels of one image, uint8[H,W,3], in the thread that is about to classify it."""


@dataclass(order=True)
class Work:
    """Neighbouring images of one submission, few enough for one call: their pixels, or what makes those of one."""

    priority: int
    number: int
    classifier: Classifier = field(compare=False)
    pixels: Pixels | Make = field(compare=False)
    done: asyncio.Future[Logits] = field(compare=False)
    report: Callable[[int, float], None] = field(compare=False)
    """Is told the images and the seconds of the classifier's call, in the event loop."""
    slow: bool = field(default=False, compare=False)
    """Whether the call takes many times as long as others do."""

    @property
    def images(self) -> int:
        """How many images it is."""
        return 1 if callable(self.pixels) else len(self.pixels)


@dataclass(frozen=True)
class _Outcome:
    """What a call gave, or why it gave nothing."""

    logits: Logits | None = None
    seconds: float = 0
    error: Exception | None = None


class Lanes:
    """`count` threads, for one event loop."""

    def __init__(self, count: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._heap: list[Work] = []
        self._slow_heap: list[Work] = []
        self._slow_calls = 0
        self._most_slow_calls = max(1, count - 1)
        self._changed = threading.Condition()
        self._lost: DeviceLost | None = None
        self.stopping = False
        self._threads = [
            threading.Thread(target=self._run, name=f"inference-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def alive(self) -> bool:
        """False once a thread has ended that should not have."""
        return self.stopping or all(thread.is_alive() for thread in self._threads)

    def put(self, works: Sequence[Work]) -> None:
        """Their futures are set in the event loop; whoever cancels one is passed over."""
        with self._changed:
            for work in works:
                if self._lost:
                    work.done.set_exception(self._lost)
                    continue
                heapq.heappush(self._slow_heap if work.slow else self._heap, work)
            self._changed.notify(len(works))

    def stop(self, seconds: float) -> None:
        """Ends the threads; one that is in the middle of something is waited for so long, and then left behind."""
        with self._changed:
            self.stopping = True
            self._changed.notify_all()
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0))

    # -- in the threads ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        while batch := self._take():
            outcome = _compute(batch)
            if batch[0].slow:
                self._end_slow_call()
            lost = outcome.error if isinstance(outcome.error, DeviceLost) else None
            if lost:
                batch += self._give_up(lost)
            with suppress(RuntimeError):  # the event loop has ended meanwhile
                self._loop.call_soon_threadsafe(_deliver, batch, outcome)
            del batch, outcome  # a lane that waits holds neither pixels nor a classifier
            if lost:
                return

    def _give_up(self, lost: DeviceLost) -> list[Work]:
        """What waits, which nothing will compute any more."""
        with self._changed:
            self._lost = lost
            waiting = self._heap + self._slow_heap
            self._heap, self._slow_heap = [], []
            return waiting

    def _take(self) -> list[Work]:
        """The most urgent work, with what fits into the same call; nothing when all is over."""
        with self._changed:
            while True:
                heap = self._most_urgent()
                if heap:
                    first = heapq.heappop(heap)
                    self._slow_calls += first.slow
                    return self._fill(first, heap)
                if self.stopping and not self._slow_heap:
                    return []
                self._changed.wait()

    def _most_urgent(self) -> list[Work]:
        """The heap whose first work is to be done next; an empty one where there is none."""
        for heap in (self._heap, self._slow_heap):
            while heap and heap[0].done.done():  # its caller went away
                heapq.heappop(heap)
        if not self._slow_heap or self._slow_calls >= self._most_slow_calls:
            return self._heap
        return self._slow_heap if not self._heap or self._slow_heap[0] < self._heap[0] else self._heap

    def _end_slow_call(self) -> None:
        with self._changed:
            self._slow_calls -= 1
            self._changed.notify_all()  # a lane may have been told of slow work while it could take none

    def _fill(self, first: Work, heap: list[Work]) -> list[Work]:
        batch, classifier = [first], first.classifier
        room = 0 if callable(first.pixels) else classifier.max_batch - first.images
        while heap and heap[0].classifier is classifier and heap[0].images <= room:
            work = heapq.heappop(heap)
            if not work.done.done():
                batch.append(work)
                room -= work.images
        return batch


def _compute(batch: list[Work]) -> _Outcome:
    try:
        pixels = [work.pixels()[None] if callable(work.pixels) else work.pixels for work in batch]
        if all(work.done.done() for work in batch):
            return _Outcome()
        started = time.perf_counter()
        logits = batch[0].classifier(pixels[0] if len(pixels) == 1 else np.concatenate(pixels))
        return _Outcome(logits, time.perf_counter() - started)
    except Exception as error:  # noqa: BLE001  # it belongs to the callers; the thread must live
        return _Outcome(error=error)


def _deliver(batch: list[Work], outcome: _Outcome) -> None:
    """In the event loop."""
    start = 0
    for work in batch:
        end = start + work.images
        if work.done.done():
            pass
        elif outcome.error:
            work.done.set_exception(outcome.error)
        elif outcome.logits is not None:
            work.done.set_result(outcome.logits[start:end])
        start = end
    if outcome.logits is not None:
        batch[0].report(len(outcome.logits), outcome.seconds)
