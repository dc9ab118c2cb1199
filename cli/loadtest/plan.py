"""What a load test does, and when each request of an open loop is due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from random import Random


class Arrivals(StrEnum):
    """How the requests of an open loop follow each other."""

    POISSON = "poisson"
    STEADY = "steady"


@dataclass(frozen=True)
class Body:
    """One request, made before it is sent: what its header says besides, and its bytes."""

    headers: tuple[str, ...]
    data: bytes


@dataclass(frozen=True)
class Plan:
    """Where to, how much and how fast.

    `images` a request. With `seconds` (0: none) `samples` per thread do not count. `rate`: requests per second over
    all workers, as an open loop; 0: closed loop. `spare`: connections of each worker besides those of its threads, for
    an open loop. `timeout`: seconds for an answer, and how long after it was due a request of an open loop is still
    sent.
    """

    url: str
    headers: tuple[str, ...] = ()
    infer: bool = False
    images: int = 1
    workers: int = 1
    threads: int = 1
    samples: int = 10
    seconds: float = 0.0
    rate: float = 0.0
    arrivals: Arrivals = Arrivals.POISSON
    warmup: float = 0.0
    timeout: float = 30.0
    spare: int = 0

    @property
    def connections(self) -> int:
        """Of each worker."""
        return self.threads + self.spare

    @property
    def requests(self) -> int:
        """How many requests are measured, where that is known before."""
        return 0 if self.seconds else self.samples * self.threads * self.workers


def dues(plan: Plan, worker: int, begin: float) -> Iterator[float]:
    """When the requests of this worker are due, in the clock of `begin`; those before `begin` are the warm-up's.

    The workers' shares add up to one stream of the plan's rate: Poisson streams do, steady ones take turns.
    """
    left = plan.samples * plan.threads
    for offset in _endless(plan, worker):
        at = round(offset - plan.warmup, 9)  # 15 / 50 - 0.3 is the beginning, and not a little before it
        if at < 0:
            yield begin + at
        elif at < plan.seconds if plan.seconds else left > 0:
            left -= 1
            yield begin + at
        else:
            return


def _endless(plan: Plan, worker: int) -> Iterator[float]:
    """Seconds from the first of all."""
    if plan.arrivals is Arrivals.STEADY:
        yield from ((worker + turn * plan.workers) / plan.rate for turn in count())
    chance, due = Random(worker), 0.0  # noqa: S311  # a schedule, no secret: the same plan has the same
    while True:
        due += chance.expovariate(plan.rate / plan.workers)
        yield due
