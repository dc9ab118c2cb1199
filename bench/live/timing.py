"""How ways are measured: so many frames at once for so many seconds, in turns."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from bench.table import turns


@dataclass(frozen=True)
class Measured:
    """Frames a second, the latency of each frame in seconds, and what all of them took of the processors, in seconds.

    The last says most on a machine that others use as well.
    """

    fps: float
    latencies: list[float]
    processor: float

    def ms(self, share: float) -> float:
        """A quantile of the latencies, in milliseconds."""
        return 1000 * float(np.quantile(self.latencies, share))

    @property
    def processor_ms(self) -> float:
        """Of one frame."""
        return 1000 * self.processor / len(self.latencies)


Frame = TypeVar("Frame")
Way = Callable[[float], Measured]
"""Measures for so many seconds."""


def in_process(look: Callable[[Frame], object], frames: Sequence[Frame], at_once: int) -> Way:
    """By `at_once` threads, each a frame at a time; each answers one or more."""

    def measure(seconds: float) -> Measured:
        begun, before = time.perf_counter(), time.process_time()

        def work(number: int) -> list[float]:
            latencies: list[float] = []
            while (started := time.perf_counter()) < begun + seconds or not latencies:
                look(frames[number % len(frames)])
                latencies.append(time.perf_counter() - started)
                number += at_once
            return latencies

        with ThreadPoolExecutor(at_once) as pool:
            parts = list(pool.map(work, range(at_once)))
        latencies = [each for part in parts for each in part]
        taken = time.process_time() - before
        return Measured(len(latencies) / (time.perf_counter() - begun), latencies, taken)

    return measure


def measure(ways: Mapping[str, Way], rounds: int, seconds: float) -> dict[str, list[Measured]]:
    """A figure a round; one short round before them does not count."""
    found: dict[str, list[Measured]] = {name: [] for name in ways}
    for number in range(-1, rounds):
        for name in turns(list(ways), number):
            measured = ways[name](seconds if number >= 0 else min(seconds, 0.5))
            if number >= 0:
                found[name].append(measured)
    return found
