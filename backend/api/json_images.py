"""The pictures of a JSON request: in base64, or by an address that the server fetches, where it is allowed to."""

from __future__ import annotations

import asyncio
import binascii
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, FailFast, ValidationError, model_validator

from backend.api.bodies import BadJson, Bodies
from backend.api.errors import ApiError
from backend.api.places import all_of, unless_gone
from backend.api.uploads import FIELD, Picture, Upload, harmless, too_many
from contract.transform import BadImage, ImageLimits

JSON_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [FIELD],
    "additionalProperties": False,
    "properties": {
        FIELD: {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "base64": {"type": "string", "description": "the file's bytes; either this or url"},
                    "url": {"type": "string", "description": "http or https; only where the server may fetch"},
                    "name": {"type": "string"},
                },
            },
        }
    },
}
"""Of the body, for /docs."""

Fetch = Callable[[str, Callable[[bytes], Awaitable[None]]], Awaitable[None]]
"""Gives what lies at an address to a function, as it arrives. Raises BadImage."""

# What a request has of them is a few dozen, and commas within addresses and names.
_MOST_PARTS = 10_000
# More of an address names no picture: it is refused, and its name is only shown.
_MOST_OF_AN_ADDRESS = 4096


class _Image(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    url: str | None = None
    base64: str | None = None
    name: str | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> _Image:
        if (self.url is None) == (self.base64 is None):
            raise ValueError("either url or base64 must be there")
        return self


class _Images(BaseModel):
    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[_Image], FailFast()]


class Encoded:
    """A picture in base64, decoded by whoever decodes the picture."""

    def __init__(self, name: str, text: str, limits: ImageLimits) -> None:
        self.name = name
        self._text = text
        self._limits = limits

    def read(self) -> bytes:
        """The bytes. Raises BadImage."""
        megabytes, most = len(self._text) * 0.75 / 1e6, self._limits.max_bytes
        if len(self._text) * 3 > (most + 2) * 4:
            message = f"The file has {megabytes:.1f} MB; {most / 1e6:.0f} MB is the most. Send a smaller copy."
            raise BadImage("too_many_bytes", message)
        try:
            return binascii.a2b_base64(self._text, strict_mode=True)
        except ValueError as error:
            raise BadImage("invalid_base64", _not_base64(self._text)) from error


class _Unread:
    """A picture that could not be had."""

    def __init__(self, name: str, why: BadImage) -> None:
        self.name = name
        self._why = why

    def read(self) -> bytes:
        raise self._why


def is_json(request: Request) -> bool:
    """Whether the body is announced as JSON. Asked of every request, so it costs one call."""
    for name, value in request.scope["headers"]:
        if name == b"content-type":
            return value[:16].lower() == b"application/json" and value[16:17] in (b"", b";", b" ")
    return False


@asynccontextmanager
async def json_images(request: Request, most: int) -> AsyncIterator[list[Picture]]:
    """The request's one to `most` pictures, until the block ends. Raises ApiError 422 or Overloaded."""
    bodies: Bodies = request.app.state.bodies
    async with bodies.whole(request) as body, AsyncExitStack() as kept:
        images = await _images(bodies, body, most)
        body.clear()
        limits: ImageLimits = request.app.state.settings.image_limits
        fetch: Fetch | None = request.app.state.fetch
        fetched = (_picture(image, n, limits, fetch, kept) for n, image in enumerate(images, 1))
        yield await unless_gone(request, all_of(fetched))


async def _images(bodies: Bodies, body: bytearray, most: int) -> list[_Image]:
    try:
        found = (await bodies.parsed(body, _MOST_PARTS, _Images.model_validate)).images
    except BadJson as error:
        raise _malformed(str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(f"{step!s:.60}" for step in first["loc"])
        raise _malformed(f"{where}: {first['msg']}"[:300]) from error
    if not found:
        raise ApiError(422, "no_images", f"There is no picture in {FIELD!r}. Send one to {most}.")
    if len(found) > most:
        raise too_many(most)
    return found


async def _picture(
    image: _Image, number: int, limits: ImageLimits, fetch: Fetch | None, kept: AsyncExitStack
) -> Picture:
    name = harmless(image.name or (_name_in(image.url) if image.url else ""), number)
    if image.base64 is not None:
        return Encoded(name, image.base64, limits)
    if fetch is None:
        message = "This server fetches nothing: whoever runs it has not allowed it. Send the picture itself, as base64."
        return _Unread(name, BadImage("urls_off", message))
    return await _fetched(fetch, image.url or "", Upload(name), kept)


async def _fetched(fetch: Fetch, url: str, upload: Upload, kept: AsyncExitStack) -> Picture:
    kept.callback(upload.close)

    async def take(piece: bytes) -> None:
        upload.add(piece)
        if upload.too_much:
            await asyncio.to_thread(upload.to_disk)

    try:
        await fetch(url, take)
    except BadImage as why:
        return _Unread(upload.name, why)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        message = "The server has no room to take the picture. Tell whoever runs it."
        return _Unread(upload.name, BadImage("disk_full", message))
    return upload


def _name_in(url: str) -> str:
    """What the picture is called in its address: the last part of the path, or nothing."""
    try:
        return unquote(urlsplit(url[:_MOST_OF_AN_ADDRESS]).path.rsplit("/", 1)[-1])
    except ValueError:
        return ""


def _not_base64(text: str) -> str:
    if text.startswith("data:"):
        return "This is a data: address. Send what follows its comma."
    return "This is no base64: the standard alphabet, padded, and nothing else, not even line breaks."


def _malformed(detail: str) -> ApiError:
    message = f"The body is not the JSON that is expected, {{{FIELD!r}: [{{'url' or 'base64': …}}]}}: {detail}"
    return ApiError(422, "malformed_json", message.rstrip(".") + ".")
