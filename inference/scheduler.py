"""The only door to the device: a bounded queue with four priorities in front of the classifiers.

Every image waits here, whoever sent it. Urgent ones overtake; what does not fit is refused at once with
`Overloaded`, before anything was spent on it; and a caller who goes away takes its images along.

    reserve(n) ── bytes, or pixels ── run ──> heap ──> lane 1 … lane L: decode, classify ──> logits

Each priority has places of its own, so that none can take those of another.
"""

from __future__ import annotations

import asyncio
import itertools
import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import IntEnum
from functools import partial

import numpy as np

from contract.transform import Pixels
from inference.artefacts import Variant
from inference.classifier import Classifier, Logits
from inference.lanes import Lanes, Make, Work
from inference.makers import Makers

DIED = "a worker of the scheduler has died, and the server must be restarted"
_STOP_SECONDS = 1.0
_LOADS_AT_ONCE = 2


class Priority(IntEnum):
    """Who goes first; the lower, the sooner."""

    INTERACTIVE = 0
    LIVE = 1
    MANY = 2
    """A program's request of more images than people may send."""
    BULK = 3


class Overloaded(Exception):
    """The queue is full. `retry_after` is the number of seconds after which a place is likely to be free."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Closed(Exception):
    """The scheduler takes no more images; the words say why: the process is about to end, or has to."""


class Places:
    """Places in the queue that a caller holds."""

    def __init__(self, take: Callable[[int], None]) -> None:
        self._take = take
        self._held = 0

    def resize(self, images: int) -> None:
        """Holds `images` places from now on. Raises Overloaded, and then holds as many as before."""
        self._take(images - self._held)
        self._held = images


@dataclass(frozen=True)
class Inference:
    """One finished call of a classifier, for the metrics."""

    variant: Variant
    images: int
    seconds: float


class Scheduler:
    """Runs classifiers, `lanes` at a time, on what waits. To be made and used within one event loop.

    `load` makes a variant's classifier and may take its time: it runs in a thread. `makers` threads make pixels for
    classifiers that take batches (for others the lanes do). `queue_limit` is the number of images that may be reserved
    or waiting at each priority. `memory_budget` (bytes) bounds the classifiers held:
    the least recently used goes first, one that has work never. `slow` tells, of a variant that was just loaded,
    whether it is one that one lane of several is kept free of.
    """

    def __init__(
        self,
        load: Callable[[Variant], Classifier],
        *,
        lanes: int,
        makers: int = 1,
        queue_limit: int = 256,
        memory_budget: int = 2_000_000_000,
        on_inference: Callable[[Inference], None] = lambda _: None,
        slow: Callable[[Variant], bool] = lambda _: False,
    ) -> None:
        self._load = load
        self._is_slow = slow
        self._slow: set[Variant] = set()
        self._queue_limit = queue_limit
        self._memory_budget = memory_budget
        self._on_inference = on_inference
        self._loaded: OrderedDict[Variant, Classifier] = OrderedDict()
        self._loading: dict[Variant, asyncio.Task[Classifier]] = {}
        self._users: Counter[Variant] = Counter()
        self._waiting: Counter[Priority] = Counter()
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._closing = False
        self._seconds_per_image = 0.05
        self._lane_count = lanes
        self._lanes = Lanes(lanes)
        self._makers = Makers(makers)
        self._loaders = ThreadPoolExecutor(_LOADS_AT_ONCE, thread_name_prefix="load")

    # -- what callers use --------------------------------------------------------------------------------------

    @contextmanager
    def reserve(self, images: int, priority: Priority) -> Iterator[Places]:
        """Holds places in the queue for images still to be received or decoded. Raises Overloaded or Closed."""
        if self._closing:
            raise Closed("the server is shutting down")
        places = Places(lambda more: self._take_places(more, priority))
        try:
            places.resize(images)
            yield places
        finally:
            places.resize(0)
            self._changed.set()

    def _take_places(self, more: int, priority: Priority) -> None:
        if more > 0 and self._waiting[priority] + more > self._queue_limit:
            raise Overloaded(self._retry_after(priority))
        self._waiting[priority] += more

    async def submit(self, variant: Variant, pixels: Pixels, priority: Priority) -> Logits:
        """uint8[N,H,W,3] → float32[N,C]. Raises Overloaded, Closed, or what the classifier and its loading raise."""
        with self.reserve(len(pixels), priority):
            return await self.run(variant, pixels, priority)

    async def run(self, variant: Variant, pixels: Pixels, priority: Priority) -> Logits:
        """As `submit`, for images whose places the caller has reserved."""
        if not len(pixels):
            raise ValueError("there is no image in the submission")
        with self._user(variant):
            classifier = await self._classifier(variant)
            step = classifier.max_batch
            parts = [pixels[i : i + step] for i in range(0, len(pixels), step)]
            return np.concatenate(await self._work_off(variant, classifier, parts, priority))

    async def run_made(self, variant: Variant, make: Make, priority: Priority) -> Logits:
        """float32[C] of the image that `make` makes the pixels of; its place must have been reserved.

        `make` is called in a thread. Raises what it raises, and what `run` raises.
        """
        with self._user(variant):
            classifier = await self._classifier(variant)
            pixels: Pixels | Make = make
            if classifier.max_batch > 1:  # a lane that decodes would keep the device waiting
                pixels = (await self._makers.pixels(make, priority))[None]
            logits: Logits = (await self._work_off(variant, classifier, [pixels], priority))[0][0]
            return logits

    def forget(self, variant: Variant) -> None:
        """Loads the variant anew when it is asked for next. What is at work keeps what it has."""
        self._loaded.pop(variant, None)

    def waiting(self, priority: Priority) -> int:
        """Images that are reserved, waiting or being classified at this priority."""
        return self._waiting[priority]

    @property
    def loaded(self) -> list[Variant]:
        """The variants in memory, the least recently used first."""
        return list(self._loaded)

    @property
    def alive(self) -> bool:
        """False once a lane has ended that should not have: nothing would be answered any more."""
        return self._lanes.alive

    async def close(self) -> None:
        """Takes nothing more, finishes what was accepted, ends the threads, and holds no classifier any more."""
        self._closing = True
        while any(self._users.values()) or any(self._waiting.values()):
            self._changed.clear()
            await self._changed.wait()
        await asyncio.to_thread(self._lanes.stop, _STOP_SECONDS)
        self._makers.stop()
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._loaded.clear()

    # -- helpers -----------------------------------------------------------------------------------------------

    @contextmanager
    def _user(self, variant: Variant) -> Iterator[None]:
        """Keeps the variant in memory."""
        if self._lanes.stopping:
            raise Closed("the server is shutting down")
        if not self.alive:
            raise Closed(DIED)
        self._users[variant] += 1
        try:
            yield
        finally:
            self._users[variant] -= 1
            self._changed.set()

    async def _work_off(
        self, variant: Variant, classifier: Classifier, parts: Sequence[Pixels | Make], priority: Priority
    ) -> list[Logits]:
        """The lanes' answers, one float32[N,C] a part; whoever is cancelled takes its parts along."""
        loop, report, slow = asyncio.get_running_loop(), partial(self._account, variant), variant in self._slow
        works = [
            Work(priority, next(self._numbers), classifier, part, loop.create_future(), report, slow) for part in parts
        ]
        try:
            self._lanes.put(works)
            if len(works) == 1:
                return [await works[0].done]
            return await asyncio.gather(*(work.done for work in works))
        finally:
            for work in works:
                work.done.cancel()

    def _account(self, variant: Variant, images: int, seconds: float) -> None:
        per_image = seconds / images / self._lane_count
        self._seconds_per_image += 0.05 * (per_image - self._seconds_per_image)
        self._on_inference(Inference(variant, images, seconds))

    def _retry_after(self, priority: Priority) -> int:
        ahead = sum(count for other, count in self._waiting.items() if other <= priority)
        return min(max(math.ceil(ahead * self._seconds_per_image), 1), 30)

    async def _classifier(self, variant: Variant) -> Classifier:
        if variant not in self._loaded:
            if variant not in self._loading:
                self._loading[variant] = asyncio.create_task(self._load_classifier(variant))
            await asyncio.shield(self._loading[variant])
        self._loaded.move_to_end(variant)
        return self._loaded[variant]

    async def _load_classifier(self, variant: Variant) -> Classifier:
        load = partial(asyncio.get_running_loop().run_in_executor, self._loaders, self._load, variant)
        classifier: Classifier | None = None
        try:
            with suppress(MemoryError):
                classifier = await load()
            if classifier is None:
                self._make_room(self._memory_budget + 1)  # whatever has no work goes
                classifier = await load()
            self._make_room(classifier.memory_bytes)
            if self._is_slow(variant):
                self._slow.add(variant)
            self._loaded[variant] = classifier
            return classifier
        finally:
            del self._loading[variant]

    def _make_room(self, needed: int) -> None:
        for variant in list(self._loaded):
            if needed + sum(other.memory_bytes for other in self._loaded.values()) <= self._memory_budget:
                return
            if not self._users[variant]:
                del self._loaded[variant]
