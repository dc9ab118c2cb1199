"""The loop: frames from a source through threads that look at them, and in their order to where they are shown."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Protocol

from cli.live.drawing import draw
from cli.live.looking import Found, Looking
from cli.live.source import Frame, Source
from cli.live.tally import Tally

__all__ = ["Sink", "run"]

_AWAKE_SECONDS = 0.05
"""How often a window is looked after while nothing comes."""


class Sink(Protocol):
    """Where frames go that were drawn on. `stage`: its name in the figures; `closed`: nobody looks any more."""

    stage: str
    closed: bool

    def put(self, frame: Frame) -> None:
        """The next frame."""

    def idle(self) -> None:
        """Between frames."""


def run(  # noqa: PLR0913, PLR0917  # the parts of a run
    source: Source,
    looking: Looking,
    sink: Sink,
    tally: Tally,
    awake: threading.Event,
    lanes: int,
    most: int | None = None,
    told: Callable[[Tally], object] = lambda _: None,
) -> None:
    """Until the source is over, `most` frames were taken, the sink is closed or `tally.stopped` was set from outside;
    with `tally.hurried` at once, and frames at work are left to their threads.

    So many frames as there are `lanes` are looked at at once. `awake` is set by whoever has news. Raises WrongAnswer,
    and what the sink raises.
    """
    waiting: deque[tuple[Frame, Future[tuple[float, Found]]]] = deque()
    taken, dropped_before = 0, source.dropped  # a camera gives frames while networks are loaded
    with _threads(lanes, tally) as pool:
        while not tally.hurried:
            while waiting and waiting[0][1].done():
                shown, done = waiting.popleft()
                _show(shown, *done.result(), looking, sink, tally)
                tally.dropped = source.dropped - dropped_before
                told(tally)
            enough = tally.stopped or sink.closed or taken == most
            if not waiting and (enough or source.over):
                return
            frame = source.take() if not enough and len(waiting) < lanes else None
            if frame is not None:
                taken += 1
                future = pool.submit(_look, looking, frame)
                future.add_done_callback(lambda _: awake.set())
                waiting.append((frame, future))
            elif not source.over or waiting:
                awake.wait(_AWAKE_SECONDS)
                awake.clear()
                sink.idle()


@contextmanager
def _threads(lanes: int, tally: Tally) -> Iterator[ThreadPoolExecutor]:
    pool = ThreadPoolExecutor(lanes, "looking")
    try:
        yield pool
    finally:
        pool.shutdown(wait=not tally.hurried, cancel_futures=True)


def _look(looking: Looking, frame: Frame) -> tuple[float, Found]:
    """When it was begun, and what was found."""
    return time.perf_counter(), looking.find(frame.rgb)


def _show(frame: Frame, begun: float, found: Found, looking: Looking, sink: Sink, tally: Tally) -> None:
    things = looking.settle(found)
    with found.timing("draw"):
        draw(frame.rgb, things)
    with found.timing(sink.stage):
        sink.put(frame)
    seconds = {"read": frame.read_seconds, "wait": begun - frame.came, **found.seconds}
    tally.add(seconds, time.perf_counter() - frame.came, things)
