"""The connections of a server that fetches what strangers name: to public addresses alone, and not for ever.

A name is resolved where the connection is made, and nowhere else: between a check and its use nothing can change.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpcore

from backend.addresses import is_public
from contract.transform import BadImage

Resolve = Callable[[str], Awaitable[list[str]]]
"""A host's addresses, as text; none if it has none."""

MOST_ADDRESSES = 3
"""Of one name that are tried."""
_READ_AT_ONCE = 16_384
# What a read counts for at least: it is work, too.
_SMALL_READ = 64


class SystemResolver:
    """As the machine resolves names. In threads of its own: a slow name server must not keep others' work waiting."""

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str) -> list[str]:
        """The host's addresses."""
        ask = partial(socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except (OSError, UnicodeError):
            return []
        return list(dict.fromkeys(str(where[0]) for *_, where in found))

    def close(self) -> None:
        """Ends the threads that have nothing to do."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Guard(httpcore.AsyncNetworkBackend):
    """Makes the connections: to an address that was checked, which stands in no name and in no cache."""

    def __init__(self, resolve: Resolve, inner: httpcore.AsyncNetworkBackend) -> None:
        self._resolve = resolve
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Raises BadImage unless every one of the host's addresses is public."""
        addresses = await self._resolve(host)
        # In the same words if there is none: what names there are inside is nobody's business.
        if not addresses or not all(is_public(address) for address in addresses):
            raise BadImage("fetch_not_public", "The address does not lead to a server on the public internet.")
        for address in addresses[:MOST_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        raise httpcore.ConnectError("none of its addresses answers")

    async def sleep(self, seconds: float) -> None:
        """As the inner one."""
        await self._inner.sleep(seconds)


class Metered(httpcore.AsyncNetworkBackend):
    """The connections of one request, on which `left` bytes may still come, whatever they are.

    Else what is no picture, as interim answers without end, would be parsed for as long as there is time.
    """

    def __init__(self, inner: httpcore.AsyncNetworkBackend, left: int) -> None:
        self._inner = inner
        self.left = left

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """As the inner one."""
        stream = await self._inner.connect_tcp(host, port, timeout, local_address, socket_options)
        return _MeteredStream(stream, self)


class _MeteredStream(httpcore.AsyncNetworkStream):
    """One of these connections. `read` raises RemoteProtocolError when nothing is left."""

    def __init__(self, inner: httpcore.AsyncNetworkStream, meter: Metered) -> None:
        self._inner = inner
        self._meter = meter

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        data = await self._inner.read(min(max_bytes, _READ_AT_ONCE), timeout)
        self._meter.left -= max(len(data), _SMALL_READ)
        if len(data) < _SMALL_READ:
            await asyncio.sleep(0)  # records of TLS come out of a buffer, without a pause for others
        if self._meter.left < 0:
            raise httpcore.RemoteProtocolError("more than any answer has")
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _MeteredStream(await self._inner.start_tls(ssl_context, server_hostname, timeout), self._meter)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
