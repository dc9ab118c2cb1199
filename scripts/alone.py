"""One at a time: two processes that set up the same folder would be in each other's way."""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator

from scripts.refusal import speak


@contextmanager
def alone(lock: Path, waiting: str) -> Iterator[None]:
    """Holds the file `lock`, which must exist. Whoever comes second says `waiting`, and waits."""
    held = os.open(str(lock), os.O_RDONLY)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            speak(waiting)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
