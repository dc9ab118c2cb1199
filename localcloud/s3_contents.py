"""Bytes of objects without holding them: a slice of a temporary file that is read as it is sent, and joined parts."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import IO, Any

_CHUNK = 1 << 20


class Content:
    """The bytes [start, end) of a file, sliced and iterated in chunks without reading the rest.

    Stays readable when the object is deleted or replaced meanwhile: it has a descriptor of its own.
    """

    def __init__(self, file: IO[bytes], start: int, end: int) -> None:
        self._file = file
        self._start, self._end = start, end

    @classmethod
    def of(cls, buffer: tempfile.SpooledTemporaryFile[bytes], size: int) -> Content | bytes:
        """All of a spooled file: bytes while it lies in memory, else a Content. What was written must be flushed."""
        if not buffer._rolled:  # type: ignore[attr-defined]  # the standard library has no public word for it
            whole: bytes = buffer._file.getvalue()  # type: ignore[attr-defined]
            return whole
        return cls(os.fdopen(os.dup(buffer.fileno()), "rb", buffering=0), 0, size)

    def __len__(self) -> int:
        return self._end - self._start

    def __getitem__(self, part: slice) -> Content:
        start, end, _ = part.indices(len(self))
        return Content(self._file, self._start + start, self._start + end)

    def __iter__(self) -> Iterator[bytes]:
        for offset in range(self._start, self._end, _CHUNK):
            yield os.pread(self._file.fileno(), min(_CHUNK, self._end - offset), offset)


class JoinedParts:
    """The bytes of an upload's parts in their order, to be written once and never held together."""

    def __init__(self, parts: Sequence[Any]) -> None:
        self._parts = parts

    def write_to(self, target: IO[bytes]) -> int:
        """Moves everything to `target` and lets go of each part; returns the bytes."""
        size = 0
        for part in self._parts:
            for chunk in _chunks(Content.of(part._value_buffer, part.contentsize)):
                size += target.write(chunk)
            part._value_buffer = tempfile.SpooledTemporaryFile()  # noqa: SIM115  # empty, in place of the part
        return size


def _chunks(content: Content | bytes) -> Iterator[bytes]:
    return iter([content]) if isinstance(content, bytes) else iter(content)
