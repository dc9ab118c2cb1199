"""Which names a server answers to: a page whose own name is pointed at this machine must not be able to read it.

A browser takes such a page for the server's own, whatever CORS says (DNS rebinding), but sends the page's name as Host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from backend.api.errors import ApiError

__all__ = ["LOOPBACK", "KnownHosts", "hosts_of"]

ANY = "*"
LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared with
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@\s]+)(:[0-9]{1,5})?")


def hosts_of(bound: str, named: Iterable[str]) -> frozenset[str] | None:
    """What may be asked for, of a server that listens on the address `bound`; None: anything.

    One that listens everywhere is asked by names that only who runs it knows, so it takes all until some are named.
    """
    names = {name.lower() for name in named}
    if ANY in names or (not names and bound in _EVERYWHERE):
        return None
    return frozenset({*LOOPBACK, f"[{bound}]" if ":" in bound else bound.lower(), *names})


class KnownHosts:
    """Refuses what is meant for another host. Starlette's own answers in plain text, and errors have one shape here.

    A request that names no host comes from no browser (the proxy's checks do so), and is let through.
    """

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "lifespan":
            for name, value in scope["headers"]:
                if name == b"host" and not self._knows(value.decode("latin-1").lower()):
                    await _unknown(value.decode("latin-1")).refuse(scope, receive, send)
                    return
        await self._app(scope, receive, send)

    def _knows(self, host: str) -> bool:
        found = _HOST.fullmatch(host)
        return found is not None and found[1] in self._hosts


def _unknown(host: str) -> ApiError:
    message = f"This server is not {host[:100]!a}: NINEFOLD_HOSTS names what it may be called."
    return ApiError(421, "unknown_host", message)
