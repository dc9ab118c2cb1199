"""What is sent as a batch: a zip as it is, or a folder of any size as zips that a server takes, one after the other.

Pictures do not shrink, so they are stored. One zip exists at a time; its files are looked at again when it is made.
"""

from __future__ import annotations

import os
import stat
import threading
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from cli.server import CannotAnswer, sendable
from contract.ziplist import BadZip, ZipLimits, read_directory

__all__ = ["Item", "Pack", "Parcel", "Problem", "Stopped", "pack", "parcel_of_zip", "parcels_of_folder"]

Problem = tuple[str, str]
"""A stable code, and a message: why a file is an error row without a server's doing."""

_CHUNK_BYTES = 1 << 20
_ENTRY_BYTES = 30 + 46 + 40  # both headers, and what zip64 may add to them; the name comes twice
_END_BYTES = 22 + 76
_SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "desktop.ini"})


class Stopped(Exception):
    """A zip was not finished, because nobody wants it any more."""


@dataclass(frozen=True, slots=True)
class Item:
    """A file of the folder, or an entry of the zip, by the `name` that its row will have."""

    name: str
    size_bytes: int
    path: Path | None = None
    problem: Problem | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Parcel:
    """One zip to be sent: `ready` on disk, or to be made of its items' files. Its first row has the number `first`."""

    file_name: str
    first: int
    items: Sequence[Item]
    size_bytes: int
    ready: Path | None = None


@dataclass(frozen=True)
class Pack:
    """A zip on disk. `places`: to which item each of its entries belongs; `problems`: what is not in it, and why."""

    path: Path
    places: Sequence[int]
    problems: dict[int, Problem]


def parcel_of_zip(path: Path, limits: ZipLimits) -> Parcel:
    """The zip as it is. Raises CannotAnswer for one that the server would refuse: before it travels."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            entries = read_directory(lambda start, end: _read(file, start, end), size, limits)
    except OSError as error:
        raise CannotAnswer(f"{path} cannot be read: {error.strerror or error}") from error
    except BadZip as bad:
        raise CannotAnswer(f"{path.name}: {bad.message}") from bad
    name = sendable(path.name)
    items = [Item(entry.name, entry.size_bytes, reason=entry.reason) for entry in entries]
    return Parcel(name if name.lower().endswith(".zip") else f"{name}.zip", 0, items, size, ready=path)


def _read(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(end - start)


def parcels_of_folder(folder: Path, limits: ZipLimits, but: Path) -> list[Parcel]:
    """All files below the folder but hidden ones, the system's, and `but` (the results), in the order of their names.

    Raises CannotAnswer where there are none.
    """
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise CannotAnswer(f"{folder} cannot be read: {error.strerror or error}") from error
    results = but.resolve()
    items = [_fitting(item, limits) for item in _files(folder) if not _is(item.path, results)]
    if not items:
        raise CannotAnswer(f"there are no files in {folder} (hidden ones do not count)")
    groups = list(_groups(items, limits))
    stem = sendable(folder.resolve().name) or "folder"
    parcels, first = [], 0
    for number, group in enumerate(groups, start=1):
        name = f"{stem}.zip" if len(groups) == 1 else f"{stem}-{number}-of-{len(groups)}.zip"
        parcels.append(Parcel(name, first, group, sum(item.size_bytes for item in group if item.problem is None)))
        first += len(group)
    return parcels


def _files(folder: Path) -> Iterator[Item]:
    unlistable: list[OSError] = []
    for parent, folders, names in os.walk(folder, onerror=unlistable.append):
        folders[:] = sorted(name for name in folders if not _hidden(name))
        for error in unlistable:
            yield Item(_name(Path(error.filename), folder) + "/", 0, problem=_unreadable(error))
        unlistable.clear()
        for name in sorted(names):
            if not _hidden(name):
                yield _file(Path(parent, name), folder)
    for error in unlistable:
        yield Item(_name(Path(error.filename), folder) + "/", 0, problem=_unreadable(error))


def _is(path: Path | None, resolved: Path) -> bool:
    return path is not None and path.name == resolved.name and path.resolve() == resolved


def _hidden(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEM_NAMES


def _name(path: Path, folder: Path) -> str:
    return sendable(path.relative_to(folder).as_posix())


def _file(path: Path, folder: Path) -> Item:
    name = _name(path, folder)
    try:
        status = path.stat()
    except OSError as error:
        return Item(name, 0, path, problem=_unreadable(error))
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for, without end
        return Item(name, 0, path, problem=("unreadable", "It is no file, but a device or a pipe."))
    return Item(name, status.st_size, path)


def _unreadable(error: OSError) -> Problem:
    return "unreadable", f"The file cannot be read: {error.strerror or error}."


def _fitting(item: Item, limits: ZipLimits) -> Item:
    if item.problem or _cost(item) + _END_BYTES <= limits.max_bytes:
        return item
    most = f"a zip holds {limits.max_bytes / 1e6:.0f} MB at the most"
    message = f"The file has {item.size_bytes / 1e6:.0f} MB; {most}. Send a smaller copy."
    return Item(item.name, item.size_bytes, item.path, problem=("too_many_bytes", message))


def _cost(item: Item) -> int:
    return item.size_bytes + _ENTRY_BYTES + 2 * len(item.name.encode())


def _groups(items: Iterable[Item], limits: ZipLimits) -> Iterator[list[Item]]:
    group: list[Item] = []
    used = _END_BYTES
    for item in items:
        cost = 0 if item.problem else _cost(item)
        if group and (used + cost > limits.max_bytes or len(group) >= limits.max_entries):
            yield group
            group, used = [], _END_BYTES
        group.append(item)
        used += cost
    yield group


def pack(parcel: Parcel, target: Path, stop: threading.Event) -> Pack:
    """Writes the parcel's zip to `target`, unless it is ready. Raises OSError if that fails, Stopped after `stop`."""
    if parcel.ready is not None:
        return Pack(parcel.ready, range(len(parcel.items)), {})
    places: list[int] = []
    problems: dict[int, Problem] = {}
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        for place, item in enumerate(parcel.items):
            problem = item.problem or _add(archive, item, stop)
            if problem:
                problems[place] = problem
            else:
                places.append(place)
    return Pack(target, places, problems)


def _add(archive: zipfile.ZipFile, item: Item, stop: threading.Event) -> Problem | None:
    """Stores the file, no more of it than it had when it was listed; without its time, so that it is the same again."""
    if item.path is None:
        raise ValueError(f"{item.name} is no file")
    try:
        source = item.path.open("rb")
    except OSError as error:
        return _unreadable(error)
    with source:
        left = item.size_bytes
        chunk = _chunk(source, left)
        if isinstance(chunk, OSError):
            return _unreadable(chunk)
        with archive.open(zipfile.ZipInfo(item.name), "w") as entry:
            while isinstance(chunk, bytes) and chunk:
                if stop.is_set():
                    raise Stopped
                entry.write(chunk)
                left -= len(chunk)
                chunk = _chunk(source, left)
    return None


def _chunk(source: IO[bytes], left: int) -> bytes | OSError:
    """What cannot be read must not look like what cannot be written."""
    try:
        return source.read(min(left, _CHUNK_BYTES))
    except OSError as error:
        return error
