"""What every command that talks to a server says: its address, its errors in words."""

from __future__ import annotations

from collections.abc import Generator
from typing import Annotated, TypeVar

import httpx
import typer

TIMEOUT_SECONDS = 60
AnyClient = TypeVar("AnyClient", httpx.Client, httpx.AsyncClient)
ServerKey = Annotated[
    str | None, typer.Option("--key", envvar="NINEFOLD_API_KEY", help="The server's key, if it asks for one.")
]
"""Better in the environment: others see a command's arguments."""


class CannotAnswer(Exception):
    """Nothing can be answered: no such server, no such model. The message says what to do."""


def client_for(url: str, kind: type[AnyClient], key: str | None = None) -> AnyClient:
    """A client of the server at `url`. Raises CannotAnswer for what is no address, or no key."""
    if key and not key.isascii():
        raise CannotAnswer("the key has characters that no key has (NINEFOLD_API_KEY, --key)")
    try:
        return kind(base_url=url, timeout=TIMEOUT_SECONDS, auth=_KeyOf(httpx.URL(url), key.strip()) if key else None)
    except (httpx.InvalidURL, ValueError) as error:
        raise CannotAnswer(f"{url!r} is no server's address ({error})") from error


class _KeyOf(httpx.Auth):
    """The key, for its server alone: the same client puts parts into the storage, which must not see it."""

    def __init__(self, server: httpx.URL, key: str) -> None:
        self._server = server
        self._key = key

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """As httpx asks for it."""
        if (request.url.scheme, request.url.netloc) == (self._server.scheme, self._server.netloc):
            request.headers["Authorization"] = f"Bearer {self._key}"
        yield request


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
