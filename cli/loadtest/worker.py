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


def main(pipe: Pipe) -> None:
    """What the process runs. It is told what to do, says that it is ready, is told when to begin, and sends tallies.

    At last it sends None. Whatever it is sent after its beginning ends it, as does a parent that is gone.
    """
    threading.excepthook = _lost
    with suppress(EOFError, OSError):
        plan, bodies, number = pipe.recv()
        pipe.send(True)
        _Worker(plan, bodies, number, pipe.recv()).run(pipe)
    # Threads that still wait for an answer are not waited for.
    os._exit(0)


def _lost(failed: threading.ExceptHookArgs) -> None:
    """A thread that fails takes its process with it: figures of one connection less would be wrong."""
    threading.__excepthook__(failed)
    os._exit(1)


def _rest_after(answer: Answer) -> None:
    """A pause where no connection was to be had: a server that is gone must not be asked a million times."""
    if answer.problem in UNREACHED.values():
        time.sleep(_PAUSE_SECONDS)


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
        threads = [threading.Thread(target=loop, args=(n,), daemon=True) for n in range(self._plan.connections)]
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
            _rest_after(connection.ask(next(bodies)))
        for asked in count():
            now = time.monotonic()
            over = now >= self._begin + self._plan.seconds if self._plan.seconds else asked >= self._plan.samples
            if over or self._enough:
                return
            answer = connection.ask(next(bodies))
            self._note(now, now, connection.sent, answer)
            _rest_after(answer)

    def _open(self, thread: int) -> None:
        """Takes whichever request is due next: one thread waits for it, the others for their turn."""
        connection, bodies = Connection(self._plan), self._from(thread)
        while (due := self._next_due()) is not None:
            body, now = next(bodies), time.monotonic()
            # Not with what is left of the time: a server that is behind would get little but what is given up.
            in_time = now < due + self._plan.timeout
            answer = connection.ask(body) if in_time else _NOT_SENT
            if due >= self._begin:
                self._note(due, now, connection.sent if in_time else 0, answer)

    def _next_due(self) -> float | None:
        with self._turn:
            due = next(self._dues, None)
            if due is not None:
                time.sleep(max(due - time.monotonic(), 0))
            return None if self._enough else due

    def _from(self, thread: int) -> Iterator[Body]:
        """All bodies in turn, each thread beginning with another."""
        first = self._number * self._plan.connections + thread
        return (self._bodies[(first + asked) % len(self._bodies)] for asked in count())

    def _note(self, due: float, begun: float, sent: int, answer: Answer) -> None:
        """`sent`: bytes."""
        ended = time.monotonic()
        with self._noting:
            tally = self._tally
            tally.requests += 1
            tally.images += answer.images
            tally.late += answer is not _NOT_SENT and begun - due > LATE_SECONDS
            tally.sent += sent
            tally.received += len(answer.data)
            tally.rows.update(answer.rows)
            if answer.problem:
                tally.fail(answer.problem, int(ended - self._begin))
            else:
                tally.answer(answer.variant, ended - due, int(ended - self._begin))
            # With seconds, what is given up long after them must not stretch the time that the rates are of.
            if not answer.problem or not self._plan.seconds:
                tally.ended = ended
