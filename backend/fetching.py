"""Fetches a picture from an address that a stranger named, and reaches nothing but the public internet.

    url --checked--> scheme, host, port --Guard--> name resolved once, every address public --> connected to that one
                     and again for each redirect            type, size as it arrives, total time

A name is resolved where the connection is made, and nowhere else: between a check and its use nothing can change.
What an answer says never comes back to the caller, only what was wrong with it: BadImage, as for any other picture.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import IPv4Address

import httpcore
import httpx

from backend.addresses import is_public
from contract.transform import BadImage

Resolve = Callable[[str], Awaitable[list[str]]]
"""A host's addresses, as text; none if it has none."""
Take = Callable[[bytes], Awaitable[None]]

MOST_REDIRECTS = 3
_LONGEST_URL = 2048
_MOST_ADDRESSES = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BYTES_OF_ANY_KIND = ("application/octet-stream", "binary/octet-stream")
_HEADERS = [(b"user-agent", b"Ninefold"), (b"accept", b"image/*"), (b"accept-encoding", b"identity")]


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
        for address in addresses[:_MOST_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        raise httpcore.ConnectError("none of its addresses answers")

    async def sleep(self, seconds: float) -> None:
        """As the inner one."""
        await self._inner.sleep(seconds)


class Fetcher:
    """Fetches at most `at_once` pictures together, each of `max_bytes` at the most, within `seconds` altogether."""

    def __init__(
        self,
        network: httpcore.AsyncNetworkBackend,
        *,
        ports: frozenset[int],
        seconds: float,
        max_bytes: int,
        at_once: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._network = network
        self._ports = ports
        self._seconds = seconds
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(at_once)
        self._tls = tls or httpcore.default_ssl_context()

    async def fetch(self, url: str, take: Take) -> None:
        """Gives the picture's bytes to `take` as they arrive. Raises BadImage, and what `take` raises."""
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                await self._follow(url, take)
        except TimeoutError as error:
            message = f"The picture was not there after {self._seconds:g} s. Send it itself, as base64."
            raise BadImage("fetch_slow", message) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            message = "The server that was named cannot be reached, or does not answer as a web server does."
            raise BadImage("fetch_failed", message) from error

    async def _follow(self, url: str, take: Take) -> None:
        for _ in range(MOST_REDIRECTS + 1):
            target = checked(url, self._ports)
            # A pool for each request: a connection that is kept would be one that somebody else had checked.
            async with (
                httpcore.AsyncConnectionPool(self._tls, network_backend=self._network) as pool,
                pool.stream("GET", _request_url(target), headers=[(b"host", target.netloc), *_HEADERS]) as response,
            ):
                headers = {name.lower(): value.decode("latin-1") for name, value in response.headers}
                if response.status not in _REDIRECTS or b"location" not in headers:
                    self._judge(response.status, headers)
                    await self._receive(response, take)
                    return
            url = _joined(target, headers[b"location"])
        raise BadImage("fetch_redirects", f"The address leads on more than {MOST_REDIRECTS} times. Send the last one.")

    def _judge(self, status: int, headers: dict[bytes, str]) -> None:
        if status != 200:
            raise BadImage("fetch_status", f"The server that was named answers {status}, and not with a picture.")
        kind = headers.get(b"content-type", "").split(";")[0].strip().lower()
        encoded = headers.get(b"content-encoding", "identity").strip().lower() != "identity"
        if encoded or not (kind.startswith("image/") or kind in _BYTES_OF_ANY_KIND):
            raise BadImage("fetch_type", "What lies at this address is no picture, by its server's own word.")
        length = headers.get(b"content-length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()

    async def _receive(self, response: httpcore.Response, take: Take) -> None:
        received = 0
        async for piece in response.aiter_stream():
            received += len(piece)
            if received > self._max_bytes:
                raise self._too_large()
            await take(piece)

    def _too_large(self) -> BadImage:
        most = f"{self._max_bytes / 1e6:.0f} MB is the most"
        return BadImage("fetch_too_large", f"The file at this address is too large; {most}. Name a smaller copy.")


def checked(url: str, ports: frozenset[int]) -> httpx.URL:
    """The address, if it is one that may be asked. Raises BadImage. Where its host leads is the Guard's to see."""
    target = _parsed(url)
    if target.scheme not in ("http", "https"):
        raise BadImage("fetch_scheme", "Only http: and https: addresses are fetched. A picture itself goes as base64.")
    if target.userinfo or "@" in target.netloc.decode("latin-1"):
        raise BadImage("fetch_credentials", "An address with a user or a password in it is not fetched.")
    host = target.raw_host.decode("latin-1").lower()
    if ":" not in host and not _is_host(host):
        raise BadImage("fetch_bad_url", "The address names no host that can be looked up.")
    port = target.port if target.port is not None else {"http": 80, "https": 443}[target.scheme]
    if port not in ports:
        shown = ", ".join(map(str, sorted(ports)))
        raise BadImage("fetch_port", f"Nothing is fetched from that port; from these it is: {shown}.")
    return target


def _parsed(url: str) -> httpx.URL:
    try:
        if len(url) > _LONGEST_URL:
            raise httpx.InvalidURL("too long")
        return httpx.URL(url)
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise BadImage("fetch_bad_url", "This is no address that can be understood.") from error


def _joined(target: httpx.URL, location: str) -> str:
    try:
        return str(target.join(location).copy_with(fragment=None))
    except (httpx.InvalidURL, UnicodeError, ValueError) as error:
        raise BadImage("fetch_bad_url", "The address leads on to one that cannot be understood.") from error


def _is_host(host: str) -> bool:
    """A name, or four decimal numbers. What else looks like a number (octal, hex, one for all four) is a disguise."""
    if not _HOST.fullmatch(host) or len(host) > 253:
        return False
    if not _NUMBER.fullmatch(host.rsplit(".", 1)[-1]):
        return True
    try:
        return bool(IPv4Address(host))
    except ValueError:
        return False


def _request_url(target: httpx.URL) -> httpcore.URL:
    return httpcore.URL(scheme=target.raw_scheme, host=target.raw_host, port=target.port, target=target.raw_path)
