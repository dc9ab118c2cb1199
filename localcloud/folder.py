"""The folder in which everything lies, for one stand-in at a time, and how many files it may hold open there."""

from __future__ import annotations

import ctypes
import fcntl
import os
import resource
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

SCRATCH = "localcloud-scratch"
_OPEN_FILES = 10_240  # a Mac's OPEN_MAX
_M_MMAP_THRESHOLD = -3


class FolderTaken(Exception):
    """Another stand-in has it. Its text says which."""


@dataclass(frozen=True)
class Folder:
    """`scratch` is as new at each start and gone at the end; `logs`, of the job runs, stay.

    `used_before`: another stand-in was here. Its objects are gone: they were files without names.
    """

    scratch: Path
    logs: Path
    used_before: bool


@contextmanager
def prepared(named: Path | None) -> Iterator[Folder]:
    """The named folder, else a temporary one that goes with the process. Raises FolderTaken.

    A process that was killed could remove nothing: what it left is removed here.
    """
    open_many_files()
    _return_large_blocks()
    with tempfile.TemporaryDirectory(prefix="ninefold-cloud-") as temporary:
        top = (named or Path(temporary)).resolve()
        top.mkdir(parents=True, exist_ok=True)
        with _alone(top):
            ours, logs = top / SCRATCH, top / "runs"
            _remove(ours)
            ours.mkdir(exist_ok=True)
            used_before = logs.exists()
            logs.mkdir(exist_ok=True)
            scratch = Path(tempfile.mkdtemp(dir=ours))  # what cannot be removed is not met again
            tempfile.tempdir = str(scratch)
            try:
                yield Folder(scratch, logs, used_before)
            finally:
                tempfile.tempdir = None
                _remove(ours)


def open_many_files() -> None:
    """As many as the system lets: each larger object is an open file.

    A Mac says that there is no limit, and refuses whoever takes it at its word.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # fewer will do for fewer objects
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Holds the folder until the block, or the process, ends."""
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some file systems have no locks
            _lock(held, folder)
        yield
    finally:
        os.close(held)


def _lock(held: int, folder: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise FolderTaken(f"another one has its things in {folder}") from None


def _return_large_blocks() -> None:
    """glibc keeps freed blocks of up to 32 MB once it has seen some: here those are the parts of uploads."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 1 << 20)
