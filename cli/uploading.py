"""A zip goes straight to the bucket: in parts, four at a time; what fails goes again, by a fresh address if need be."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from cli.batches import BatchApi, Refused

__all__ = ["Upload", "together"]

PARTS_AT_ONCE = 4
ATTEMPTS = 8
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20
_ROUNDS = 3
_URLS_AT_ONCE = 16  # 64 may be asked for, but on a slow line they would expire before their turn
_CHUNK_BYTES = 256 << 10


class _PartFailed(Exception):
    """This part, this time."""


@dataclass
class Upload:
    """The upload of `path` as batch `batch`. `sent` is told the bytes as they leave, less those that were in vain."""

    api: BatchApi
    batch: str
    path: Path
    size_bytes: int
    part_size: int
    parts: int
    sent: Callable[[int], None]

    def __post_init__(self) -> None:
        self._urls: dict[int, str] = {}
        self._asking = asyncio.Lock()

    async def run(self) -> None:
        """Sends every part and completes the upload. Raises Refused, or CannotAnswer."""
        missing = list(range(1, self.parts + 1))
        for _ in range(_ROUNDS):
            await self._send(missing)
            try:
                await self._complete()
            except Refused as refused:
                if refused.code != "parts_missing":
                    raise
                last = refused
                missing = await self._missing()
            else:
                return
        raise last

    async def _complete(self) -> None:
        try:
            await self.api.complete(self.batch)
        except Refused as refused:
            # Completed it is, if only the answer to the first try was lost.
            if refused.code != "wrong_state" or (await self.api.get(self.batch))["state"] == "created":
                raise

    async def _missing(self) -> list[int]:
        arrived = await self.api.arrived(self.batch)
        missing = [part for part in range(1, self.parts + 1) if arrived.get(part) != self._bytes_of(part)]
        self.sent(-sum(self._bytes_of(part) for part in missing))
        return missing

    def _bytes_of(self, part: int) -> int:
        return min(self.part_size, self.size_bytes - (part - 1) * self.part_size)

    async def _send(self, parts: list[int]) -> None:
        waiting = list(reversed(parts))

        async def work() -> None:
            while waiting:
                await self._put_patiently(waiting.pop(), waiting)

        await together(*(work() for _ in range(min(PARTS_AT_ONCE, len(parts)))))

    async def _put_patiently(self, part: int, waiting: list[int]) -> None:
        retrying = AsyncRetrying(
            retry=retry_if_exception_type(_PartFailed),
            wait=wait_random_exponential(multiplier=FIRST_WAIT_SECONDS, max=LONGEST_WAIT_SECONDS),
            stop=stop_after_attempt(ATTEMPTS),
            reraise=True,
        )
        try:
            await retrying(self._put, part, waiting)
        except _PartFailed as error:
            message = f"Part {part} of {self.parts} cannot be uploaded: {error}. Look at the connection, and try again."
            raise Refused("upload_failed", message) from error

    async def _put(self, part: int, waiting: list[int]) -> None:
        url = await self._url(part, waiting)
        gone = 0

        async def body() -> AsyncIterator[bytes]:
            nonlocal gone
            with self.path.open("rb") as file:
                file.seek((part - 1) * self.part_size)
                while chunk := file.read(min(_CHUNK_BYTES, self._bytes_of(part) - gone)):
                    yield chunk
                    gone += len(chunk)
                    self.sent(len(chunk))

        try:
            response = await self.api.http.put(
                url, content=body(), headers={"Content-Length": str(self._bytes_of(part))}
            )
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            self.sent(-gone)
            raise _PartFailed(str(error) or type(error).__name__) from error
        if not response.is_success:
            self.sent(-gone)
            del self._urls[part]  # 403: it expired; and another address harms in no other case
            raise _PartFailed(f"the storage answered {response.status_code}{_reason(response)}")

    async def _url(self, part: int, waiting: list[int]) -> str:
        async with self._asking:
            if part not in self._urls:
                following = [other for other in reversed(waiting) if other not in self._urls]
                self._urls |= await self.api.urls(self.batch, [part, *following[: _URLS_AT_ONCE - 1]])
            return self._urls[part]


def _reason(response: httpx.Response) -> str:
    found = re.search(r"<Code>(\w+)</Code>", response.text[:2000])
    return f" ({found[1]})" if found else ""


async def together(*jobs: Coroutine[Any, Any, None]) -> None:
    """Runs them at once; if one fails, the others are ended before its error goes on."""
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
