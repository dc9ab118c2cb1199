"""The pictures of a multipart request: counted before they are used, named without trust, copied once.

The parser is python-multipart's own, fed as the body arrives. Starlette's form on top of it is left out: its objects
and its files cost more than the parsing. A photograph stays as the pieces it came in, joined by whoever decodes it;
large ones lie on disk.
"""

from __future__ import annotations

import asyncio
import errno
import unicodedata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryFile
from typing import IO, Protocol

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from backend.api.errors import ApiError

FIELD = "images"
_LONGEST_NAME = 255
# A name may be as long as a body of JSON: beyond this nobody looks.
_MOST_OF_A_NAME = 4 * _LONGEST_NAME
# What a file may take of the memory before it goes to disk: most photographs stay, and nine times the uploads in
# flight remain a bounded sum.
_MOST_IN_MEMORY = 256 * 1024
# Control characters and lone surrogates would break logs and JSON; the others turn the direction of what follows.
_NOT_IN_NAMES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


class Picture(Protocol):
    """One picture of a request, however it was sent."""

    @property
    def name(self) -> str:
        """What it is called in the answer."""

    def read(self) -> bytes:
        """All its bytes; blocks. Raises BadImage where there are none to be had."""


class Upload:
    """One file of the request. `name`: what its sender calls it, as far as that is harmless."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._pieces: list[bytes] = []
        self._size = 0
        self._file: IO[bytes] | None = None

    def read(self) -> bytes:
        """All its bytes; blocks, so it belongs in a thread."""
        if self._file is None:
            return b"".join(self._pieces)
        self._file.seek(0)
        return self._file.read() + b"".join(self._pieces)

    @property
    def too_much(self) -> bool:
        """Whether `to_disk` is called for."""
        return self._size > _MOST_IN_MEMORY

    def add(self, piece: bytes) -> None:
        """Takes the next bytes."""
        self._pieces.append(piece)
        self._size += len(piece)

    def to_disk(self) -> None:
        """Writes what is in memory to the file; blocks. Raises OSError."""
        if self._file is None:
            self._file = TemporaryFile()  # noqa: SIM115  # closed by `close`
        self._file.write(b"".join(self._pieces))
        self._pieces.clear()
        self._size = 0

    def close(self) -> None:
        """Gives memory and disk back."""
        self._pieces.clear()
        if self._file is not None:
            self._file.close()


class _Form:
    """What the parser finds. `files`: those of the field `images`; others are counted and passed over."""

    def __init__(self, boundary: bytes, most: int) -> None:
        self.files: list[Upload] = []
        self.complete = False
        self._most = most
        self._others = 0
        self._current: Upload | None = None
        self._header: tuple[bytes, bytes] = (b"", b"")
        self._disposition = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_part_data": self._on_part_data,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Raises ApiError 422."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise _malformed("it cannot be parsed") from error

    def _on_part_begin(self) -> None:
        self._current, self._disposition, self._header = None, b"", (b"", b"")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0] + data[start:end], self._header[1])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header = (self._header[0], self._header[1] + data[start:end])

    def _on_header_end(self) -> None:
        field, value = self._header
        if field.lower() == b"content-disposition":
            self._disposition = value
        self._header = (b"", b"")

    def _on_headers_finished(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise _malformed("a part of it has no name")
        if b"filename" not in options or options[b"name"] != FIELD.encode():
            self._others += 1
            if self._others > self._most:
                raise _malformed("it has too many fields")
            return
        if len(self.files) == self._most:
            raise too_many(self._most)
        self._current = Upload(harmless(_decoded(options[b"filename"]), len(self.files) + 1))
        self.files.append(self._current)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current is not None:
            self._current.add(data[start:end])

    def _on_end(self) -> None:
        self.complete = True


@asynccontextmanager
async def uploads(request: Request, most: int) -> AsyncIterator[list[Upload]]:
    """The request's one to `most` files, until the block ends. Raises ApiError 415, 422 or 507."""
    form = _Form(_boundary(request), most)
    try:
        await _receive(request, form)
        if not form.complete:  # pictures would be missing in silence
            raise _malformed("it breaks off before its closing boundary")
        if not form.files:
            message = f"There is no file in the field {FIELD!r}. Send one to {most} pictures in it."
            raise ApiError(422, "no_images", message)
        yield form.files
    finally:
        for file in form.files:
            file.close()


async def _receive(request: Request, form: _Form) -> None:
    try:
        async for piece in request.stream():
            form.feed(piece)
            for file in form.files:
                if file.too_much:
                    await asyncio.to_thread(file.to_disk)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        message = "The server has no room to take the pictures. Tell whoever runs it."
        raise ApiError(507, "disk_full", message) from error


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.lower() != b"multipart/form-data":
        message = f"Send the pictures as multipart/form-data, in the field {FIELD!r}, or as application/json."
        raise ApiError(415, "unsupported_media_type", message)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _malformed("its header names no boundary")
    if len(boundary) > 256:
        raise _malformed("its boundary is too long")
    return boundary


def too_many(most: int) -> ApiError:
    """More pictures than the `most` that a request may carry."""
    message = f"A request may carry {most} pictures. Send the others in another one."
    return ApiError(422, "too_many_images", message)


def _malformed(detail: str) -> ApiError:
    message = f"The body is not the multipart that its header announces: {detail}."
    return ApiError(422, "malformed_multipart", message)


def _decoded(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        return name.decode("latin-1")


def harmless(name: str, number: int) -> str:
    """The last part of a path, without what could harm a log or a terminal; the rest is the sender's own affair."""
    last = name[-_MOST_OF_A_NAME:].replace("\\", "/").rsplit("/", 1)[-1]
    if not last.isascii() or not last.isprintable():
        last = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cs") and c not in _NOT_IN_NAMES)
    shown = last.strip()[:_LONGEST_NAME]
    return f"image {number}" if shown in ("", ".", "..") else shown
