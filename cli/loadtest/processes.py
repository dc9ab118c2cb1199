"""Processes that import no more than they run: multiprocessing's would each import the whole command line again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import Pipe
from multiprocessing.connection import Connection

_RUN = """
import sys
handle, module, *sys.path = sys.argv[1:]
from importlib import import_module
from multiprocessing.connection import Connection
import_module(module).main(Connection(int(handle)))
"""


@contextmanager
def processes(module: str, number: int, handles: Sequence[int] = ()) -> Iterator[list[Connection]]:
    """The pipes to so many processes that run `module.main(pipe)`; they are gone at the end.

    Each has a session of its own, so that a terminal's Ctrl-C reaches the parent alone; `handles` are open in them
    by the same numbers. Whoever sees its pipe end has lost its parent.
    """
    started: list[subprocess.Popen[bytes]] = []
    pipes: list[Connection] = []
    try:
        for _ in range(number):
            ours, theirs = Pipe()
            pipes.append(ours)
            with theirs:
                started.append(_start(module, theirs.fileno(), handles))
        yield pipes
    finally:
        for pipe in pipes:
            pipe.close()
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def _start(module: str, handle: int, handles: Sequence[int]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _RUN, str(handle), module, *sys.path]
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[handle, *handles], start_new_session=True)
