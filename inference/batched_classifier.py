"""A classifier for devices that gain from batches: calls are filled up to one of a few sizes that were prepared.

    uint8[N,H,W,3] --parts of max_batch at most--> staged --a runner's call of the next size--> float32[N,…]

An image's answer has the card's shape: (C,) logits, or a detector's (Q, 6).

Each runner is a stream of work of its own with memory of its own, so that one copies while another computes. Torch
stays out of here: what a runner runs on is its own matter.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from queue import LifoQueue
from typing import Protocol

import numpy as np

from contract.transform import Pixels
from inference.batch_sizes import sizes_that_pay
from inference.classifier import Logits, check_pixels

_TIMED_CALLS = 5


class Runner(Protocol):
    """A network on a device, for one caller at a time."""

    @property
    def staged(self) -> Pixels:
        """uint8[M,H,W,3]: where the pixels of the next call are put, M images at the most."""

    def prepare(self, size: int) -> None:
        """Makes calls of this many images ready. Raises MemoryError where the device has no room."""

    def drop(self, size: int) -> None:
        """Gives back what `prepare` took."""

    def run(self, size: int) -> Logits:
        """float32[size,…] of the first `size` images that are staged; the next call writes over it."""


class BatchedClassifier:
    """Thread-safe: every call takes a runner of its own, and waits for one where all are at work.

    `answer`: the shape of one image's. `sizes`: the batch sizes to prepare; without them they are chosen by what they
    cost on this very device. `memory_bytes` tells what it all takes, once it is prepared.
    """

    def __init__(
        self,
        runners: Sequence[Runner],
        answer: tuple[int, ...],
        memory_bytes: Callable[[], int],
        sizes: Sequence[int] | None = None,
    ) -> None:
        first, *others = runners
        self._answer = answer
        self._side = first.staged.shape[1]
        self._free: LifoQueue[Runner] = LifoQueue()
        self.sizes = tuple(sizes) if sizes else _chosen(first)
        if sizes:
            _prepare(first, self.sizes)
        self._free.put(first)
        for runner in others:
            try:
                _prepare(runner, self.sizes)
            except MemoryError:
                break  # fewer at once are better than none
            self._free.put(runner)
        self.runners = self._free.qsize()
        self.max_batch = self.sizes[-1]
        self.memory_bytes = memory_bytes()

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C] ([N,Q,6] of a detector). Raises ValueError on another shape or type."""
        check_pixels(pixels, self._side)
        logits = np.empty((len(pixels), *self._answer), dtype=np.float32)
        runner = self._free.get()
        try:
            for start in range(0, len(pixels), self.max_batch):
                part = pixels[start : start + self.max_batch]
                runner.staged[: len(part)] = part  # what lies behind are images of former calls: nobody reads theirs
                logits[start : start + len(part)] = runner.run(self._size_for(len(part)))[: len(part)]
        finally:
            self._free.put(runner)
        return logits

    def _size_for(self, images: int) -> int:
        return next(size for size in self.sizes if size >= images)


def _prepare(runner: Runner, sizes: Sequence[int]) -> None:
    # The largest first: the smaller ones fit into memory that it had.
    done: list[int] = []
    try:
        for size in sorted(sizes, reverse=True):
            runner.prepare(size)
            done.append(size)
    except MemoryError:
        for size in done:
            runner.drop(size)
        raise


def _chosen(runner: Runner) -> tuple[int, ...]:
    """The sizes that pay on this runner; no others stay prepared on it."""
    tried: list[int] = []

    def cost(size: int) -> float:
        runner.prepare(size)
        tried.append(size)
        return _seconds(runner, size)

    sizes = sizes_that_pay(cost, len(runner.staged))
    for size in tried:
        if size not in sizes:
            runner.drop(size)
    return sizes


def _seconds(runner: Runner, size: int) -> float:
    runner.run(size)
    taken = []
    for _ in range(_TIMED_CALLS):
        begun = time.perf_counter()
        runner.run(size)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)
