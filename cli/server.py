"""What every command that talks to a server says: its address, its errors in words."""

from __future__ import annotations

from typing import TypeVar

import httpx

TIMEOUT_SECONDS = 60
AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)


class CannotAnswer(Exception):
    """Nothing can be answered: no such server, no such model. The message says what to do."""


def client_for(url: str, kind: type[AnyClient]) -> AnyClient:
    """A client of the server at `url`. Raises CannotAnswer for what is no address."""
    try:
        return kind(base_url=url, timeout=TIMEOUT_SECONDS)
    except (httpx.InvalidURL, ValueError) as error:
        raise CannotAnswer(f"{url!r} is no server's address ({error})") from error


def no_server(url: httpx.URL, error: Exception) -> CannotAnswer:
    """That nobody answers there."""
    return CannotAnswer(f"the server at {url} does not answer ({error}). Is it running? `make run` starts one")


def message_of(response: httpx.Response) -> str:
    """What the server says is wrong."""
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"{response.url} answered {response.status_code}, and not as a Ninefold server does"


def sendable(name: str) -> str:
    """The name in characters that UTF-8 has: file systems allow bytes that it does not."""
    return name.encode("utf-8", "replace").decode("utf-8")
