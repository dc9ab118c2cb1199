"""Child processes that never outlive this one: each in a group of its own, ended as a group, and on a leash."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

_TICK_SECONDS = 0.05
_GRACE_SECONDS = 2.0


class Child:
    """A started program. Its input is a pipe that nobody writes to: its end tells `leash.py` that we are gone."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str], output: IO[bytes] | int) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid

    @property
    def output(self) -> IO[bytes]:
        """What it writes, where it was started with a pipe."""
        assert self._process.stdout is not None  # noqa: S101  # it was asked for by whoever reads it
        return self._process.stdout

    def wait(self, seconds: float, *stops: threading.Event) -> int | None:
        """Its exit code (-N: killed by signal N); None when the time is over or one of the events came first."""
        deadline = time.monotonic() + seconds
        while (code := self._process.poll()) is None:
            if time.monotonic() >= deadline or any(stop.is_set() for stop in stops):
                return None
            time.sleep(_TICK_SECONDS)
        return code

    def end(self, grace: float = _GRACE_SECONDS) -> int:
        """Ends the whole group, politely first; returns the exit code."""
        if self._process.poll() is None:
            self._signal(signal.SIGTERM)
            self.wait(grace)
        self._signal(signal.SIGKILL)
        code = self._process.wait()
        if self._process.stdin:
            self._process.stdin.close()
        return code

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def how_it_ended(code: int) -> str:
    """In words: "with exit code 3", "by signal SIGKILL"."""
    return f"with exit code {code}" if code >= 0 else f"by signal {signal.Signals(-code).name}"
