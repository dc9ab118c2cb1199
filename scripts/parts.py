"""Processes that live and die together: started, listened to, stopped with time to finish, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_TICK_SECONDS = 0.1


@dataclass(frozen=True)
class Errand:
    """A process that is meant to end: what it makes is wanted, and nothing waits for it.

    `finish_seconds`: how long it may take to finish what it accepted before it is killed.
    """

    name: str
    command: Sequence[str]
    cwd: Path
    env: Mapping[str, str]
    finish_seconds: float


@dataclass(frozen=True)
class Part(Errand):
    """A process of the application, which must not end, and how to see that it is ready."""

    host: str
    port: int
    port_setting: str
    ready_url: str


class PartDied(Exception):
    """A part ended by itself."""

    def __init__(self, part: Part, code: int) -> None:
        by = f"exit code {code}" if code >= 0 else f"signal {signal.Signals(-code).name}"
        super().__init__(f"the {part.name} stopped by itself ({by})")
        self.part = part


class StopRequest:
    """Counts what asks for the end: Ctrl-C, SIGTERM, a closed terminal."""

    def __init__(self) -> None:
        self.count = 0
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: self._count())

    def _count(self) -> None:
        self.count += 1


class Running:
    """One started part or errand. Its lines come out with its name in front."""

    def __init__(self, part: Errand) -> None:
        self.part = part
        self.ready = not isinstance(part, Part)
        # A session of its own: a terminal's Ctrl-C reaches this program alone, which then stops the parts in order.
        self._process = subprocess.Popen(
            part.command,
            cwd=part.cwd,
            env=dict(part.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._pass_on, daemon=True)
        self._reader.start()

    def code(self) -> int | None:
        """The exit code once it has ended."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """To the part and to all that it started, whether the part itself still lives or not."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def drain(self) -> None:
        """Waits until its last lines are out."""
        self._reader.join(timeout=1)

    def look_whether_ready(self, client: httpx.Client) -> None:
        """Asks it, unless it said yes before."""
        if isinstance(self.part, Part) and not self.ready:
            with suppress(httpx.HTTPError):
                self.ready = client.get(self.part.ready_url).status_code == 200

    def _pass_on(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  # it was asked for above
        for line in self._process.stdout:
            say(f"{self.part.name:>5} | {line.decode(errors='replace').rstrip()}")


def say(line: str) -> None:
    """Prints. A terminal that was closed must not keep the parts from being stopped."""
    with suppress(OSError, ValueError):
        print(line, flush=True)


@contextmanager
def together(parts: Sequence[Part], stop: StopRequest) -> Iterator[list[Running]]:
    """Starts all parts; at the end of the block, however it ends, all are stopped."""
    running: list[Running] = []
    try:
        running.extend(Running(part) for part in parts)
        yield running
    finally:
        _stop(running, stop)


def wait_until_ready(running: Sequence[Running], stop: StopRequest) -> bool:
    """True once every part is ready, False when the end is asked for before. Raises PartDied."""
    with httpx.Client(trust_env=False, timeout=2) as client:
        for _ in _ticks(running, stop):
            for each in running:
                each.look_whether_ready(client)
            if all(each.ready for each in running):
                return True
    return False


def wait_until_stopped(running: Sequence[Running], stop: StopRequest) -> None:
    """Returns when the end is asked for. Raises PartDied."""
    for _ in _ticks(running, stop):
        pass


def _ticks(running: Sequence[Running], stop: StopRequest) -> Iterator[None]:
    while not stop.count:
        for each in running:
            if isinstance(each.part, Part) and (code := each.code()) is not None:
                each.drain()
                raise PartDied(each.part, code)
        yield
        time.sleep(_TICK_SECONDS)


def _stop(running: Sequence[Running], stop: StopRequest) -> None:
    """Asks all, waits as long as each may take, kills what is left. One more Ctrl-C kills at once."""
    asked = stop.count
    for each in running:
        each.signal(signal.SIGTERM)
    begun = time.monotonic()
    while stop.count <= asked and any(
        each.code() is None and time.monotonic() - begun < each.part.finish_seconds for each in running
    ):
        time.sleep(_TICK_SECONDS / 2)
    for each in running:
        if each.code() is None:
            say(f"The {each.part.name} did not end in time and is killed.")
        each.signal(signal.SIGKILL)
    for each in running:
        each.drain()
    sys.stdout.flush()
