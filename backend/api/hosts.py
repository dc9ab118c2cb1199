"""Which names a server answers to: a page whose own name is pointed at this machine must not be able to read it.

A browser takes such a page for the server's own, whatever CORS says (DNS rebinding), but sends the page's name as Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.errors import ApiError

__all__ = ["KnownHosts", "hosts_of"]

ANY = "*"
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(:[0-9]{1,5})?")


def hosts_of(bound: str, named: Iterable[str]) -> frozenset[str] | None:
    """The names that a server which listens on `bound` may be asked by, beside any address; None: by anything.

    One that listens everywhere is asked by names that only who runs it knows, so it takes all until some are named.
    """
    names = frozenset(_name(each) or each.lower() for each in named)
    if ANY in names or (not names and _is_everywhere(bound)):
        return None
    return names | {"localhost", bound.lower()}


class KnownHosts:
    """Refuses what is meant for another host. Starlette's own answers in plain text, and errors have one shape here.

    Nobody can lead an address elsewhere, so each address is good. A request that names no host comes from no browser
    (the proxy's checks do so), and is let through.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "lifespan":
            for name, value in scope["headers"]:
                if name == b"host" and not self._knows(value.decode("latin-1")):
                    await _unknown(value.decode("latin-1")).refuse(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        name = _name(host)
        return name in self._hosts or _is_address(name)


def _name(written: str) -> str:
    """Without port, brackets and last dot, in small letters; "" for what is no host."""
    found = _HOST.fullmatch(written.lower())
    return found[1].strip("[]").rstrip(".") if found else ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _is_everywhere(bound: str) -> bool:
    with suppress(ValueError):
        return ip_address(bound).is_unspecified
    return bound in ("", "0")


def _unknown(host: str) -> ApiError:
    message = f"This server is not {host[:100]!a}: NINEFOLD_HOSTS names what it may be called."
    return ApiError(421, "unknown_host", message)
