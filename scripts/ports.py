"""Whether a port can be had; if not, who has it and what to do."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress

import psutil

from scripts.parts import Part
from scripts.refusal import Refusal


def read_port(environment: Mapping[str, str], setting: str, default: int) -> int:
    """The port that an environment variable names."""
    value = environment.get(setting) or str(default)
    if not value.isdigit() or not 1 <= int(value) <= 65535:
        raise Refusal(f"{setting}={value} is no port: give it a number from 1 to 65535.")
    return int(value)


def require_all_free(parts: Sequence[Part]) -> None:
    """Refuses in one sentence unless every part can listen where it is to listen."""
    for part in parts:
        require_free(part)


def require_free(part: Part) -> None:
    """Refuses in one sentence unless the part can listen where it is to listen."""
    port, setting = part.port, part.port_setting
    reason = _why_taken(part.host, port)
    if reason:
        raise Refusal(
            f"port {port}, for the {part.name}, {reason}: stop that, "
            f"or choose another one, {setting}={port + 1} make run."
        )


def _why_taken(host: str, port: int) -> str | None:
    # A Mac lets two programs listen on one port at different addresses, so a bind alone would not notice.
    with suppress(OSError), socket.create_connection((_reachable(host), port), timeout=0.5):
        return f"is in use{_holder(port)}"
    try:
        address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(address[0], address[1]) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address[4])
    except OSError as error:
        return f"cannot be had at {host} ({error.strerror or error})"
    return None


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # read, not bound


def _holder(port: int) -> str:
    """The process that listens there, where the system lets us know it."""
    for process in psutil.process_iter(["pid", "name"]):
        with suppress(psutil.Error):
            for connection in process.net_connections("tcp"):
                if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port:
                    return f" by process {process.info['pid']} ({process.info['name']})"
    return ""
