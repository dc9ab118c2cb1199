"""Runs an installer so that a person sees its progress as it was meant, and we know afterwards what it said."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence

_REMEMBERED = 8000  # characters, enough for the last error


def run_watched(command: Sequence[str], env: Mapping[str, str]) -> tuple[int, str]:
    """The exit code, and the end of what was said.

    An installer draws its progress bars only for a terminal, so where there is one it gets a terminal.
    """
    read_end, write_end = pty.openpty() if sys.stderr.isatty() else os.pipe()
    if sys.stderr.isatty():
        _copy_size(write_end)
    with subprocess.Popen(command, env=dict(env), stdout=write_end, stderr=write_end) as process:
        os.close(write_end)
        said = _pass_on(read_end)
        os.close(read_end)
    return process.returncode, said


def _pass_on(read_end: int) -> str:
    said = b""
    while True:
        try:
            chunk = os.read(read_end, 4096)
        except OSError:  # how Linux reports that a terminal's other end is closed
            chunk = b""
        if not chunk:
            return said.decode(errors="replace")
        said = (said + chunk)[-_REMEMBERED:]
        sys.stderr.buffer.write(chunk)
        sys.stderr.buffer.flush()


def _copy_size(terminal: int) -> None:
    size = os.get_terminal_size(sys.stderr.fileno())
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", size.lines, size.columns, 0, 0))
