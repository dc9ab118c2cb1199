"""A camera of the tests: it opens /v1/live over a real socket, and reads what comes."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from tests.servers import Service


@contextmanager
def opened(service: Service, query: str = "", **more: Any) -> Iterator[ClientConnection]:
    with connect(f"ws{service.url[4:]}/v1/live{query}", compression=None, close_timeout=2, **more) as camera:
        yield camera


def answer(camera: ClientConnection) -> dict[str, Any]:
    return dict(json.loads(camera.recv(timeout=30)))


def refusal(service: Service, query: str = "", **more: Any) -> tuple[int, str, str]:
    """Status, code and message of what is refused before the upgrade; the same by GET, for browsers."""
    with pytest.raises(InvalidStatus) as refused, opened(service, query, **more):
        pass
    response = refused.value.response
    error = json.loads(response.body)["error"]
    assert response.headers["x-request-id"] and response.headers["cache-control"] == "no-store"
    headers = more.get("additional_headers", {}) | ({"Origin": more["origin"]} if "origin" in more else {})
    asked = service.client.get(f"/v1/live{query}", headers=headers)
    assert (asked.status_code, asked.json()["error"]) == (response.status_code, error)
    return response.status_code, error["code"], error["message"]


def end_of(camera: ClientConnection) -> tuple[int, str]:
    """Code and reason of the server's close frame, past whatever answers came before."""
    for _ in range(100_000):
        try:
            camera.recv(timeout=30)
        except ConnectionClosed:
            break
    assert camera.close_code is not None
    return camera.close_code, camera.close_reason or ""


def wait_for(holds: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)
