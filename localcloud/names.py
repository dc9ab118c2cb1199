"""By which names the server may be asked. A page of the internet may give its own name this machine's address.

Then the browser takes what is here for that page's own: it reads without an `Origin`, and shows the page the answer.
Only the name that it asked for tells. Nobody can lead an address elsewhere, so each address is good.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from localcloud.settings import Settings


class Names:
    """`in` says whether a Host header names us: one of `own` or an address, with a bucket's name in front or not.

    `reached_from_elsewhere`: others call this machine as their network does, and a container's name has no dot.
    """

    def __init__(self, own: tuple[str, ...], *, reached_from_elsewhere: bool) -> None:
        self._own = frozenset(map(_name, own)) - {""}
        self._undotted = reached_from_elsewhere

    @classmethod
    def of(cls, settings: Settings) -> Names:
        """Loopback's name, where it listens, where its pages are, what the settings name."""
        pages = [origin.partition("://")[2] for origin in settings.page_origins]
        own = ("localhost", settings.host, *pages, *settings.names)
        if _is_loopback(settings.host):
            return cls(own, reached_from_elsewhere=False)
        return cls((*own, socket.gethostname()), reached_from_elsewhere=True)

    def __contains__(self, header: object) -> bool:
        name = _name(str(header))
        if self._undotted and name and "." not in name:
            return True
        labels = name.split(".")
        ends = (".".join(labels[at:]) for at in range(len(labels)))
        return any(end in self._own or _is_address(end) for end in ends)


def _name(header: str) -> str:
    """Without the port; "" for what is no host."""
    try:
        return (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def _is_loopback(host: str) -> bool:
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"
