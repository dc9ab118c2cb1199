"""The pictures of a multipart request: counted before they are used, named without trust, never whole in memory."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fastapi import Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from backend.api.errors import ApiError

FIELD = "images"
_LONGEST_NAME = 255


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
    """The request's one to `most` files, until the block ends. Raises ApiError 415 or 422."""
    if request.headers.get("content-type", "").split(";")[0].strip().lower() != "multipart/form-data":
        raise ApiError(
            415, "unsupported_media_type", f"Send the pictures as multipart/form-data, in the field {FIELD!r}."
        )
    too_many = ApiError(422, "too_many_images", f"A request may carry {most} pictures. Send the others in another one.")
    try:
        form = await request.form(max_files=most + 1, max_fields=most + 1)
    except HTTPException as error:
        raise too_many if "Too many" in str(error.detail) else _malformed(str(error.detail)) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise ApiError(
            507, "disk_full", "The server has no room to take the pictures. Tell whoever runs it."
        ) from error
    try:
        files = [value for value in form.getlist(FIELD) if isinstance(value, UploadFile)]
        if len(files) > most:
            raise too_many
        if not files:
            raise ApiError(
                422, "no_images", f"There is no file in the field {FIELD!r}. Send one to {most} pictures in it."
            )
        yield [Upload(_clean(file.filename, number), file) for number, file in enumerate(files, start=1)]
    finally:
        await form.close()


def _malformed(detail: str) -> ApiError:
    return ApiError(422, "malformed_multipart", f"The body is not the multipart that its header announces ({detail}).")


def _clean(name: str | None, number: int) -> str:
    """The last part of a path, without control characters; any other character is the sender's own affair."""
    last = (name or "").replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(character for character in last if character.isprintable()).strip()
    return printable[:_LONGEST_NAME] or f"image {number}"
