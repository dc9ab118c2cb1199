"""Fetches a picture from an address that a stranger named, and reaches nothing but the public internet.

    url --checked--> scheme, host, port --Guard--> name resolved once, every address public --> connected to that one
                     and again for each redirect            type, size and pieces as they arrive, total time

A name is resolved where the connection is made, by backend.guard, and nowhere else.
What an answer says never comes back to the caller, only what was wrong with it: BadImage, as for any other picture.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address

import httpcore
import httpx

from backend.guard import MOST_ADDRESSES, Metered
from contract.transform import BadImage

Take = Callable[[bytes], Awaitable[None]]

MOST_REDIRECTS = 3
_LONGEST_URL = 2048
# Of an answer until its headers are there, interim ones included.
_LONGEST_HEAD = 65_536
# An answer may come in so many pieces, and one more for every so many bytes: each is an event of the parser.
_MOST_PIECES = 2_000
_SMALL_PIECE = 512
_TAKEN_AT_ONCE = 65_536
_REDIRECTS = (301, 302, 303, 307, 308)
_HOST = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BYTES_OF_ANY_KIND = ("application/octet-stream", "binary/octet-stream")
_HEADERS = [(b"user-agent", b"Ninefold"), (b"accept", b"image/*"), (b"accept-encoding", b"identity")]


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
        # With one address: the others have their turn, and there is time left for the picture.
        self._patience = {"timeout": {"connect": seconds / (MOST_ADDRESSES + 1)}}

    async def fetch(self, url: str, take: Take) -> None:
        """Gives the picture's bytes to `take` as they arrive. Raises BadImage, and what `take` raises."""
        try:
            async with asyncio.timeout(self._seconds), self._slots:
                await self._follow(url, take)
        except TimeoutError as error:
            message = f"The picture was not there after {self._seconds:g} s. Send it itself, as base64."
            raise BadImage("fetch_slow", message) from error
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, ssl.SSLError) as error:
            message = "The server that was named cannot be reached, or does not answer as a web server does."
            raise BadImage("fetch_failed", message) from error

    async def _follow(self, url: str, take: Take) -> None:
        for _ in range(MOST_REDIRECTS + 1):
            target = checked(url, self._ports)
            meter, asked = Metered(self._network, _LONGEST_HEAD), [(b"host", target.netloc), *_HEADERS]
            # A pool for each request: a connection that is kept would be one that somebody else had checked.
            async with (
                httpcore.AsyncConnectionPool(self._tls, network_backend=meter) as pool,
                pool.stream("GET", _request_url(target), headers=asked, extensions=self._patience) as response,
            ):
                meter.left += 2 * self._max_bytes
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
        received, pieces, kept = 0, 0, bytearray()
        async for piece in response.aiter_stream():
            received, pieces = received + len(piece), pieces + 1
            kept += piece
            if received > self._max_bytes:
                raise self._too_large()
            if pieces > _MOST_PIECES + received // _SMALL_PIECE:
                raise httpcore.RemoteProtocolError("too small pieces")
            if len(kept) >= _TAKEN_AT_ONCE:
                await take(bytes(kept))
                kept.clear()
            elif len(piece) < _SMALL_PIECE:
                await asyncio.sleep(0)  # it came out of the parser's buffer, without a pause for others
        await take(bytes(kept))

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
