"""The processes of a load test: started together, listened to, and ended whatever happens."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from multiprocessing import connection
from multiprocessing.connection import Connection as Pipe

from cli.loadtest.plan import Body, Plan
from cli.loadtest.processes import processes
from cli.loadtest.tally import Tally
from cli.server import CannotAnswer

_WORKER = "cli.loadtest.worker"
_START_SECONDS = 60
_LAST_WORD_SECONDS = 2.0
_HEAD_START_SECONDS = 0.1


@dataclass
class Measured:
    """What all workers together measured, from `begin` (monotonic) on, which was at `began` (UTC).

    `stopped`: by Ctrl-C, before the end.
    """

    plan: Plan
    tally: Tally = field(default_factory=Tally)
    begin: float = 0.0
    began: datetime = datetime.min
    stopped: bool = False
    stopped_at: float = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning to the last answer (where seconds were asked for: the last good one, and no
        fewer than those seconds), or until it was stopped.
        """
        if self.stopped:
            return max(self.stopped_at - self.begin, 0.0)
        return max(self.tally.ended - self.begin, self.plan.seconds)


def measure(plan: Plan, bodies: Sequence[Body], tell: Callable[[Measured], None]) -> Measured:
    """Carries out the plan; `tell` hears how it goes, some times a second. Raises CannotAnswer if a worker is lost.

    Ctrl-C ends it early, with what was measured so far.
    """
    measured = Measured(plan)
    with processes(_WORKER, plan.workers) as pipes:
        measured.begin = _begin(plan, bodies, pipes)
        measured.began = datetime.now(UTC) + timedelta(seconds=measured.begin - time.monotonic())
        with _ctrl_c() as pressed:
            _listen(pipes, measured, tell, pressed)
        if pressed.is_set():
            measured.stopped, measured.stopped_at = True, time.monotonic()
            _last_words(pipes, measured)
    return measured


@contextmanager
def _ctrl_c() -> Iterator[threading.Event]:
    """Whether it was pressed; not as an exception, which could break a message in two. The second time it is one."""
    pressed = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield pressed
        return

    def press(*_: object) -> None:
        pressed.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, press)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(plan: Plan, bodies: Sequence[Body], pipes: list[Pipe]) -> float:
    """When the measuring begins, once all are ready and know it."""
    try:
        for number, pipe in enumerate(pipes):
            pipe.send((plan, bodies, number))
        for pipe in pipes:
            if not pipe.poll(_START_SECONDS):
                raise CannotAnswer("a worker did not start within a minute; fewer workers (-w) may")
            pipe.recv()
    except (EOFError, OSError) as error:
        raise CannotAnswer("a worker ended before it began; its own words stand above") from error
    begin = time.monotonic() + _HEAD_START_SECONDS + plan.warmup
    for pipe in pipes:
        pipe.send(begin)
    return begin


def _listen(pipes: list[Pipe], measured: Measured, tell: Callable[[Measured], None], pressed: threading.Event) -> None:
    open_pipes = list(pipes)
    while open_pipes and not pressed.is_set():
        ready = set(connection.wait(open_pipes, timeout=0.1))
        for pipe in [each for each in open_pipes if each in ready]:
            try:
                told = pipe.recv()
            except (EOFError, OSError) as error:
                raise CannotAnswer("a worker was lost, so that the figures would be wrong") from error
            if told is None:
                open_pipes.remove(pipe)
            else:
                measured.tally.add(told)
        tell(measured)


def _last_words(pipes: list[Pipe], measured: Measured) -> None:
    """What the workers had not told yet. Whoever takes longer than two seconds keeps it to himself."""
    deadline = time.monotonic() + _LAST_WORD_SECONDS
    for pipe in pipes:
        with suppress(OSError):  # it has ended, and what it told lies in the pipe
            pipe.send(True)
    for pipe in pipes:
        try:
            while pipe.poll(max(deadline - time.monotonic(), 0)) and (told := pipe.recv()) is not None:
                if isinstance(told, Tally):
                    measured.tally.add(told)
        except (EOFError, OSError):
            continue
