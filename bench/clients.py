"""What a request costs the HTTP clients of Python: processor time, against a server that does nothing."""

from __future__ import annotations

import asyncio
import http.client
import json
import statistics
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import aiohttp
import httpx
import urllib3
import uvloop
from rich.table import Table

from bench.table import ratios, spread, turns
from cli.loadtest.asking import Connection
from cli.loadtest.noop import noop
from cli.loadtest.plan import Body, Plan

OURS = "pycurl, as the load test has it"
Cost = Callable[[str, Body, float], float]
"""Milliseconds of this process's processor a request, of one connection that asks `seconds` long."""


def _cost(ask: Callable[[], object], seconds: float) -> float:
    ask()
    end, begun, asked = time.monotonic() + seconds, time.process_time(), 0
    while time.monotonic() < end:
        ask()
        asked += 1
    return 1000 * (time.process_time() - begun) / asked


def headers_of(body: Body) -> dict[str, str]:
    """As a dictionary."""
    return dict(header.split(": ", 1) for header in body.headers)


def by_pycurl(url: str, body: Body, seconds: float) -> float:
    """The load test's own connection."""
    connection = Connection(Plan(url))
    found = _cost(lambda: connection.ask(body), seconds)
    connection.close()
    return found


def by_http_client(url: str, body: Body, seconds: float) -> float:
    """The standard library's."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port)

    def ask() -> object:
        connection.request("POST", place.path, body.data, headers_of(body))
        return json.loads(connection.getresponse().read())

    found = _cost(ask, seconds)
    connection.close()
    return found


def by_urllib3(url: str, body: Body, seconds: float) -> float:
    """With its pool."""
    with urllib3.PoolManager() as pool:
        return _cost(lambda: pool.request("POST", url, body=body.data, headers=headers_of(body)).json(), seconds)


def by_httpx(url: str, body: Body, seconds: float) -> float:
    """Its synchronous client."""
    with httpx.Client(trust_env=False) as client:
        return _cost(lambda: client.post(url, content=body.data, headers=headers_of(body)).json(), seconds)


def by_aiohttp(url: str, body: Body, seconds: float) -> float:
    """On uvloop."""

    async def run() -> float:
        async with aiohttp.ClientSession() as session:
            end, begun, asked = time.monotonic() + seconds, time.process_time(), 0
            while time.monotonic() < end:
                async with session.post(url, data=body.data, headers=headers_of(body)) as response:
                    json.loads(await response.read())
                asked += 1
            return 1000 * (time.process_time() - begun) / asked

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


WAYS: dict[str, Cost] = {
    OURS: by_pycurl,
    "http.client": by_http_client,
    "aiohttp on uvloop": by_aiohttp,
    "urllib3": by_urllib3,
    "httpx": by_httpx,
}


def table(body: Body, rounds: int, seconds: float) -> Table:
    """A row each; the ratios are of the same round."""
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    with noop() as server:
        for number in range(rounds):
            for name in turns(list(WAYS), number):
                found[name].append(WAYS[name](f"{server.url}/v1/predict", body, seconds / len(WAYS)))
    made = Table("one connection", "processor time a request", "over pycurl's", title="Clients")
    for name, costs in found.items():
        made.add_row(name, f"{statistics.median(costs):.3f} ms", spread(ratios(costs, found[OURS]), 1))
    return made
