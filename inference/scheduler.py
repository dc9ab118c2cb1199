"""The only door to the device: a bounded queue with three priorities in front of the classifiers.

Every image waits here, whoever sent it. Urgent ones overtake; what does not fit is refused at once with
`Overloaded`, before anything was spent on it; and a caller who goes away takes its images along.

    reserve(n) ── decode ── submit ──> heap ──> lane 1 … lane L ──> logits
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from contract.transform import Pixels
from inference.artefacts import Variant
from inference.classifier import Classifier, Logits


class Priority(IntEnum):
    """Who goes first; the lower, the sooner."""

    INTERACTIVE = 0
    LIVE = 1
    BULK = 2


class Overloaded(Exception):
    """The queue is full. `retry_after` is the number of seconds after which a place is likely to be free."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class Closed(Exception):
    """The scheduler takes no more images: the process is about to end."""


@dataclass(order=True)
class _Chunk:
    """Neighbouring images of one submission, few enough for one call."""

    priority: Priority
    number: int
    variant: Variant = field(compare=False)
    pixels: Pixels = field(compare=False)
    done: asyncio.Future[Logits] = field(compare=False)


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

    `load` makes a variant's classifier and may take its time: it runs in a thread. `queue_limit` is the number of
    images that may be reserved or waiting at each priority. `memory_budget` (bytes) bounds the classifiers held:
    the least recently used goes first, one that has work never.
    """

    def __init__(
        self,
        load: Callable[[Variant], Classifier],
        *,
        lanes: int,
        queue_limit: int = 256,
        memory_budget: int = 2_000_000_000,
        on_inference: Callable[[Inference], None] = lambda _: None,
    ) -> None:
        self._load = load
        self._queue_limit = queue_limit
        self._memory_budget = memory_budget
        self._on_inference = on_inference
        self._loaded: OrderedDict[Variant, Classifier] = OrderedDict()
        self._loading: dict[Variant, asyncio.Task[Classifier]] = {}
        self._users: Counter[Variant] = Counter()
        self._waiting: Counter[Priority] = Counter()
        self._heap: list[_Chunk] = []
        self._numbers = itertools.count()
        self._changed = asyncio.Event()
        self._closing = False
        self._seconds_per_image = 0.05
        self._lane_count = lanes
        self._threads = ThreadPoolExecutor(lanes + 1, thread_name_prefix="inference")
        self._lanes = [asyncio.create_task(self._lane(), name=f"lane-{i}") for i in range(lanes)]

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
        if not self.alive:
            raise Closed("the server is shutting down")
        self._users[variant] += 1
        try:
            classifier = await self._classifier(variant)
            step = classifier.max_batch
            chunks = [self._chunk(variant, pixels[i : i + step], priority) for i in range(0, len(pixels), step)]
            try:
                for chunk in chunks:
                    heapq.heappush(self._heap, chunk)
                self._changed.set()
                return np.concatenate(await asyncio.gather(*(chunk.done for chunk in chunks)))
            finally:
                for chunk in chunks:
                    chunk.done.cancel()
        finally:
            self._users[variant] -= 1
            self._changed.set()

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
        return not any(lane.done() for lane in self._lanes)

    async def close(self) -> None:
        """Takes nothing more, finishes what was accepted, ends the threads."""
        self._closing = True
        self._changed.set()
        await asyncio.gather(*self._lanes)
        await asyncio.to_thread(self._threads.shutdown)

    # -- the lanes ---------------------------------------------------------------------------------------------

    async def _lane(self) -> None:
        while (batch := await self._next_batch()) is not None:
            await self._call(batch)

    async def _next_batch(self) -> list[_Chunk] | None:
        while True:
            while self._heap and self._heap[0].done.done():  # its caller went away
                heapq.heappop(self._heap)
            if self._heap:
                return self._take()
            if self._closing and not any(self._users.values()) and not any(self._waiting.values()):
                self._changed.set()  # for the other lanes
                return None
            self._changed.clear()
            await self._changed.wait()

    def _take(self) -> list[_Chunk]:
        batch = [heapq.heappop(self._heap)]
        variant, room = batch[0].variant, self._loaded[batch[0].variant].max_batch - len(batch[0].pixels)
        while self._heap and self._heap[0].variant == variant and len(self._heap[0].pixels) <= room:
            chunk = heapq.heappop(self._heap)
            if not chunk.done.done():
                batch.append(chunk)
                room -= len(chunk.pixels)
        return batch

    async def _call(self, batch: list[_Chunk]) -> None:
        variant = batch[0].variant
        started = time.perf_counter()
        try:
            pixels = batch[0].pixels if len(batch) == 1 else np.concatenate([chunk.pixels for chunk in batch])
            logits = await asyncio.get_running_loop().run_in_executor(self._threads, self._loaded[variant], pixels)
            self._account(Inference(variant, len(pixels), time.perf_counter() - started))
        except Exception as error:  # noqa: BLE001  # it belongs to the callers; the lane must live
            for chunk in batch:
                if not chunk.done.done():
                    chunk.done.set_exception(error)
            return
        start = 0
        for chunk in batch:
            end = start + len(chunk.pixels)
            if not chunk.done.done():
                chunk.done.set_result(logits[start:end])
            start = end

    def _account(self, inference: Inference) -> None:
        per_image = inference.seconds / inference.images / self._lane_count
        self._seconds_per_image += 0.05 * (per_image - self._seconds_per_image)
        self._on_inference(inference)

    # -- helpers -----------------------------------------------------------------------------------------------

    def _chunk(self, variant: Variant, pixels: Pixels, priority: Priority) -> _Chunk:
        return _Chunk(priority, next(self._numbers), variant, pixels, asyncio.get_running_loop().create_future())

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
        try:
            classifier = await asyncio.get_running_loop().run_in_executor(self._threads, self._load, variant)
            self._make_room(classifier.memory_bytes)
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
