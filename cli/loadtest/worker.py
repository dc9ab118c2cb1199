"""One process of a load test: its threads ask, its first thread tells the parent what was measured."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection as Pipe

from cli.loadtest.asking import UNREACHED, Answer, Connection
from cli.loadtest.plan import Body, Plan, dues
from cli.loadtest.tally import LATE_SECONDS, Tally

TELL_SECONDS = 0.25
_LOOK_SECONDS = 0.02
_NOT_SENT = Answer("not sent in time")
_PAUSE_SECONDS = 0.05
"""After a connection that was not to be had: a server that is gone must not be asked a million times."""


def main(pipe: Pipe) -> None:
    """What the process runs. It is told what to do, says that it is ready, is told when to begin, and sends tallies.

    At last it sends None. Whatever it is sent after its beginning ends it, as does a parent that is gone.
    """
    with suppress(EOFError, OSError):
        plan, bodies, number = pipe.recv()
        pipe.send(True)
        _Worker(plan, bodies, number, pipe.recv()).run(pipe)
    # Threads that still wait for an answer are not waited for.
    os._exit(0)


class _Worker:
    def __init__(self, plan: Plan, bodies: Sequence[Body], number: int, begin: float) -> None:
        self._plan = plan
        self._bodies = bodies
        self._number = number
        self._begin = begin
        self._tally = Tally()
        self._noting = threading.Lock()
        self._turn = threading.Lock()
        self._dues = dues(plan, number, begin) if plan.rate else iter(())
        self._cpu = 0.0
        self._enough = False

    def run(self, pipe: Pipe) -> None:
        """Until all is asked, or the parent says that it is enough."""
        loop = self._open if self._plan.rate else self._closed
        threads = [threading.Thread(target=loop, args=(n,), daemon=True) for n in range(self._plan.threads)]
        for thread in threads:
            thread.start()
        told = self._begin
        while any(thread.is_alive() for thread in threads):
            if pipe.poll(_LOOK_SECONDS):
                self._enough = True
                break
            if (now := time.monotonic()) < self._begin:
                self._cpu = time.process_time()
            elif now - told > TELL_SECONDS:
                told = now
                pipe.send(self._taken())
        pipe.send(self._taken())
        pipe.send(None)

    def _taken(self) -> Tally:
        """What was measured since the last time."""
        cpu = time.process_time()
        with self._noting:
            taken, self._tally = self._tally, Tally()
        taken.cpu_seconds, self._cpu = cpu - self._cpu, cpu
        return taken

    def _closed(self, thread: int) -> None:
        connection, bodies = Connection(self._plan), self._from(thread)
        time.sleep(max(self._begin - self._plan.warmup - time.monotonic(), 0))
        while time.monotonic() < self._begin and not self._enough:
            connection.ask(next(bodies))
        for asked in count():
            now = time.monotonic()
            over = now >= self._begin + self._plan.seconds if self._plan.seconds else asked >= self._plan.samples
            if over or self._enough:
                return
            body = next(bodies)
            answer = connection.ask(body)
            self._note(now, now, body, answer)
            if answer.problem in UNREACHED.values():
                time.sleep(_PAUSE_SECONDS)

    def _open(self, thread: int) -> None:
        """Takes whichever request is due next: one thread waits for it, the others for their turn."""
        connection, bodies = Connection(self._plan), self._from(thread)
        while (due := self._next_due()) is not None:
            body, now = next(bodies), time.monotonic()
            # Not with what is left of the time: a server that is behind would get little but what is given up.
            answer = connection.ask(body) if now < due + self._plan.timeout else _NOT_SENT
            if due >= self._begin:
                self._note(due, now, body, answer)

    def _next_due(self) -> float | None:
        with self._turn:
            due = next(self._dues, None)
            if due is not None:
                time.sleep(max(due - time.monotonic(), 0))
            return None if self._enough else due

    def _from(self, thread: int) -> Iterator[Body]:
        """All bodies in turn, each thread beginning with another."""
        first = self._number * self._plan.threads + thread
        return (self._bodies[(first + asked) % len(self._bodies)] for asked in count())

    def _note(self, due: float, sent: float, body: Body, answer: Answer) -> None:
        ended = time.monotonic()
        with self._noting:
            tally = self._tally
            tally.requests += 1
            tally.images += answer.images
            tally.late += sent - due > LATE_SECONDS
            tally.sent += len(body.data) if answer is not _NOT_SENT else 0
            tally.received += len(answer.data)
            tally.ended = ended
            tally.rows.update(answer.rows)
            (tally.failed if answer.problem else tally.answered)[int(ended - self._begin)] += 1
            if answer.problem:
                tally.errors[answer.problem] += 1
            else:
                tally.good += 1
                tally.latency.add(ended - due)
                tally.slowest = max(tally.slowest, ended - due)
