"""The pictures of a multipart request: counted before they are used, named without trust, never whole in memory."""

from __future__ import annotations

import errno
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from python_multipart.multipart import parse_options_header
from starlette.datastructures import FormData, Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from backend.api.errors import ApiError

FIELD = "images"
_LONGEST_NAME = 255
# Control characters and lone surrogates would break logs and JSON; the others turn the direction of what follows.
_NOT_IN_NAMES = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f")


class _Parser(MultiPartParser):
    # What a file may take of the memory before it goes to disk: most photographs stay, and nine times the uploads in
    # flight remain a bounded sum.
    spool_max_size = 256 * 1024


@dataclass(frozen=True)
class Upload:
    """One file of the request. Large ones lie on disk until they are read."""

    name: str
    file: UploadFile

    def read(self) -> bytes:
        """All its bytes; blocks, so it belongs in a thread."""
        self.file.file.seek(0)
        return self.file.file.read()


@asynccontextmanager
async def uploads(request: Request, most: int) -> AsyncIterator[list[Upload]]:
    """The request's one to `most` files, until the block ends. Raises ApiError 415, 422 or 507."""
    form = await _parse(request, _boundary(request), most)
    try:
        files = [value for value in form.getlist(FIELD) if isinstance(value, UploadFile)]
        if len(files) > most:
            raise _too_many(most)
        if not files:
            message = f"There is no file in the field {FIELD!r}. Send one to {most} pictures in it."
            raise ApiError(422, "no_images", message)
        yield [Upload(_clean(file.filename, number), file) for number, file in enumerate(files, start=1)]
    finally:
        await form.close()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind.lower() != b"multipart/form-data":
        message = f"Send the pictures as multipart/form-data, in the field {FIELD!r}."
        raise ApiError(415, "unsupported_media_type", message)
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise _malformed("its header names no boundary")
    return boundary


async def _parse(request: Request, boundary: bytes, most: int) -> FormData:
    # The boundary alone is passed on: of the other parameters none is needed, and a charset could only do harm.
    headers = Headers(raw=[(b"content-type", b'multipart/form-data; boundary="' + boundary + b'"')])
    body = _complete(request, boundary)
    try:
        return await _Parser(headers, body, max_files=most + 1, max_fields=most + 1).parse()
    except MultiPartException as error:
        raise _too_many(most) if "Too many files" in error.message else _malformed(error.message) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ApiError(
            507, "disk_full", "The server has no room to take the pictures. Tell whoever runs it."
        ) from error


async def _complete(request: Request, boundary: bytes) -> AsyncGenerator[bytes, None]:
    """The body; an error after it unless it ends as a multipart must, for else pictures would be missing in silence."""
    end = b"--" + boundary + b"--"
    tail = b""
    async for piece in request.stream():
        tail = (tail + piece)[-len(end) - 1000 :]
        yield piece
    if end not in tail:
        raise _malformed("it breaks off before its closing boundary")


def _too_many(most: int) -> ApiError:
    message = f"A request may carry {most} pictures. Send the others in another one."
    return ApiError(422, "too_many_images", message)


def _malformed(detail: str) -> ApiError:
    message = f"The body is not the multipart that its header announces: {detail.rstrip('.')}."
    return ApiError(422, "malformed_multipart", message)


def _clean(name: str | None, number: int) -> str:
    """The last part of a path, without what could harm a log or a terminal; the rest is the sender's own affair."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    harmless = "".join(c for c in last if unicodedata.category(c) not in ("Cc", "Cs") and c not in _NOT_IN_NAMES)
    shown = harmless.strip()[:_LONGEST_NAME]
    return f"image {number}" if shown in ("", ".", "..") else shown
