"""What a task answers, and how it takes its own times. Small things travel: figures, never pixels or rows."""

from __future__ import annotations

import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ParamSpec

from contract.shards import Counts
from contract.ziplist import ShardPlan

P = ParamSpec("P")


@dataclass(frozen=True)
class Report:
    """What became of one task. `worker`: host, the executor's Python and its worker; `stopped`: why nothing was made.

    `kept`: an earlier run made it. `seconds`: the task's own, by stage, and those of the processor as "cpu";
    `peak_rss_mb` is its process's, so far.
    """

    plan: ShardPlan
    counts: Counts
    worker: str
    read_bytes: int
    seconds: Mapping[str, float]
    peak_rss_mb: float
    kept: bool = False
    stopped: str | None = None


class TaskWatch:
    """Counts one task's bytes and seconds, from when it is made."""

    def __init__(self) -> None:
        self._cpu = time.process_time()
        self._seconds: dict[str, float] = {}
        self._within = 0.0
        self.read_bytes = 0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds what happens within to this stage; what is another stage there counts for that one alone."""
        begun, before = time.perf_counter(), self._within
        self._within = 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - begun
            self._seconds[name] = self._seconds.get(name, 0) + took - self._within
            self._within = before + took

    def reading(self, read: Callable[P, bytes]) -> Callable[P, bytes]:
        """`read`, with its bytes and the seconds spent waiting for them counted."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> bytes:
            with self.stage("read"):
                data = read(*args, **kwargs)
            self.read_bytes += len(data)
            return data

        return timed

    def report(self, plan: ShardPlan, counts: Counts, *, kept: bool = False) -> Report:
        """Of a task that did what it was to do."""
        seconds = self._seconds | {"cpu": time.process_time() - self._cpu}
        return Report(plan, counts, _worker(), self.read_bytes, seconds, peak_rss_mb(), kept)

    def stopped(self, plan: ShardPlan, why: str) -> Report:
        """Of a task that no repetition would help; `why` is for a person."""
        return Report(plan, Counts(0, 0, 0), _worker(), self.read_bytes, {}, peak_rss_mb(), stopped=why)


def peak_rss_mb() -> float:
    """The most memory that this process has held, in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def _worker() -> str:
    return f"{socket.gethostname()}/{os.getppid()}/{os.getpid()}"
