"""The load generator of every measurement over HTTP: a process of its own, so that it shares no lock with a server.

    python -m bench.client URL --photos DIR                16 connections, each asks again once it is answered
    python -m bench.client URL --photos DIR --rate 300     open loop: arrivals by schedule, whatever comes back
    python -m bench.client --ceiling                       its own limit, against a server that does nothing

Requests are made before they are sent. In the open loop a latency counts from the moment the request was *due*, so a
server that stalls cannot make the client hold its questions back. One JSON object is printed.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import uvloop

from bench.connection import Connection, Exchange
from bench.noop import noop

BOUNDARY = "ninefold-bench-0f7c1d"
PATIENCE = 30.0
"""Seconds after which an answer is no longer waited for."""

Report = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """What is asked, and how often. `rate` (requests per second; 0: closed loop) is kept up for `seconds`.

    `field` is the multipart field of the photograph; "" sends its bytes as the body. In the open loop every
    `hold`-th request (0: none) sends its header alone, and its body only after half a second without an answer.
    """

    url: str
    seconds: float = 5
    connections: int = 16
    rate: float = 0
    arrivals: str = "poisson"
    field: str = "images"
    hold: int = 0
    most: int = 500


def load(plan: Plan, photographs: list[bytes]) -> Report:
    """The report of a client process that carries out the plan."""
    with TemporaryDirectory(prefix="bench-") as folder:
        for number, data in enumerate(photographs):
            (Path(folder) / f"{number:04d}.jpg").write_bytes(data)
        named = [f"--{name}={value}" for name, value in vars(plan).items() if name != "url"]
        command = [sys.executable, "-m", "bench.client", plan.url, "--photos", folder, *named]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, timeout=plan.seconds + 2 * PATIENCE, text=True
        )
    report: Report = json.loads(done.stdout)
    return report


def requests(plan: Plan, photographs: list[bytes]) -> list[tuple[bytes, bytes]]:
    """The header and the body of each photograph's request."""
    address = urlsplit(plan.url)
    path = (address.path or "/") + (f"?{address.query}" if address.query else "")
    kind = f"multipart/form-data; boundary={BOUNDARY}" if plan.field else "image/jpeg"
    made = []
    for number, data in enumerate(photographs):
        body = _multipart(plan.field, number, data) if plan.field else data
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {address.netloc}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(body)}",
        ]
        made.append(("\r\n".join([*lines, "", ""]).encode(), body))
    return made


def _multipart(field: str, number: int, data: bytes) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{field}"; filename="{number:04d}.jpg"'
    head = f"--{BOUNDARY}\r\n{disposition}\r\nContent-Type: image/jpeg\r\n\r\n"
    return head.encode() + data + f"\r\n--{BOUNDARY}--\r\n".encode()


class Client:
    """Carries out one plan."""

    def __init__(self, plan: Plan, photographs: list[bytes]) -> None:
        self._plan = plan
        self._requests: Iterator[tuple[bytes, bytes]] = cycle(requests(plan, photographs))
        address = urlsplit(plan.url)
        self._place = (address.hostname or "127.0.0.1", address.port or 80)
        self._idle: list[Connection] = []
        self._slots = asyncio.Semaphore(plan.connections if not plan.rate else plan.most)
        self.exchanges: list[Exchange] = []
        self.begun = 0.0

    async def run(self) -> None:
        """Until every request is answered, broken or given up."""
        self.begun = time.perf_counter()
        await (self._open_loop() if self._plan.rate else self._closed_loop())
        for connection in self._idle:
            connection.close()

    async def _closed_loop(self) -> None:
        async def one_after_another() -> None:
            while (now := time.perf_counter()) < self.begun + self._plan.seconds:
                exchange = await self._exchange(now)
                if exchange.outcome == "dropped":
                    await asyncio.sleep(0.05)  # a server that is gone must not be asked a million times

        await asyncio.gather(*(one_after_another() for _ in range(self._plan.connections)))

    async def _open_loop(self) -> None:
        running: set[asyncio.Task[Exchange]] = set()
        for number, due in enumerate(_schedule(self._plan), start=1):
            await asyncio.sleep(max(self.begun + due - time.perf_counter(), 0))
            hold = bool(self._plan.hold) and number % self._plan.hold == 0
            task = asyncio.create_task(self._exchange(self.begun + due, hold))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    async def _exchange(self, due: float, hold: bool = False) -> Exchange:
        """One request, from when it was due; its outcome is noted, whatever it is."""
        header, body = next(self._requests)
        exchange = Exchange(due, hold)
        self.exchanges.append(exchange)
        async with self._slots:
            if time.perf_counter() > due + PATIENCE:
                exchange.end("timeout")
                return exchange
            connection = await self._connection(exchange)
            if connection is None:
                return exchange
            await connection.ask(exchange, header, body, due + PATIENCE)
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.close()
        return exchange

    async def _connection(self, exchange: Exchange) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
        try:
            async with asyncio.timeout_at(asyncio.get_running_loop().time() + PATIENCE):
                _, made = await asyncio.get_running_loop().create_connection(Connection, *self._place)
                return made
        except (OSError, TimeoutError):
            exchange.end("dropped")
            return None


def _schedule(plan: Plan) -> Iterator[float]:
    """When each request is due, in seconds from the start; the same plan has the same schedule."""
    chance, due = np.random.default_rng(9), 0.0
    while due < plan.seconds:
        yield due
        due += chance.exponential(1 / plan.rate) if plan.arrivals == "poisson" else 1 / plan.rate


def report(client: Client, seconds: float, cpu_seconds: float) -> Report:
    """Counts by outcome, latencies in milliseconds, and what each second of the run brought."""
    outcomes = [exchange.outcome for exchange in client.exchanges]
    counts = {outcome: outcomes.count(outcome) for outcome in sorted(set(outcomes))}
    good = [exchange for exchange in client.exchanges if exchange.outcome == "200"]
    refused = [exchange for exchange in client.exchanges if exchange.outcome == "429"]
    held = [exchange for exchange in client.exchanges if exchange.hold]
    span = max((exchange.ended for exchange in good), default=client.begun) - client.begun
    return {
        "seconds": seconds,
        "counts": counts,
        "rate": len(good) / max(span, seconds),
        "latency_ms": _percentiles([exchange.ended - exchange.due for exchange in good]),
        "refusal_ms": _percentiles([exchange.first_byte - exchange.due for exchange in refused]),
        "held": {
            "sent": len(held),
            "refused": sum(exchange.outcome == "429" for exchange in held),
            "refused_before_body": sum(exchange.refused_before_body for exchange in held),
        },
        "timeline": _timeline(client),
        "cpu_ms_per_request": 1000 * cpu_seconds / max(len(outcomes), 1),
    }


def _percentiles(seconds: list[float]) -> dict[str, float]:
    if not seconds:
        return {}
    return {f"p{share}": 1000 * float(np.percentile(seconds, share)) for share in (50, 95, 99)}


def _timeline(client: Client) -> list[Report]:
    """A row a second: how many were due in it, how many had their 200 in it, the slowest of those due in it."""
    good = [exchange for exchange in client.exchanges if exchange.outcome == "200"]
    due = Counter(int(exchange.due - client.begun) for exchange in client.exchanges)
    answered = Counter(int(exchange.ended - client.begun) for exchange in good)
    slowest: dict[int, float] = {}
    for exchange in good:
        second, took = int(exchange.due - client.begun), 1000 * (exchange.ended - exchange.due)
        slowest[second] = max(slowest.get(second, 0), took)
    return [
        {"second": second, "due": due[second], "answered": answered[second], "slowest_ms": slowest.get(second, 0)}
        for second in range(max((*due, *answered), default=-1) + 1)
    ]


def carry_out(plan: Plan, photographs: list[bytes]) -> Report:
    """The plan, in this process."""

    async def run() -> Client:
        client = Client(plan, photographs)
        await client.run()
        return client

    before = time.process_time()
    client = uvloop.run(run())
    return report(client, plan.seconds, time.process_time() - before)


def ceiling(seconds: float = 3, kilobytes: int = 120) -> Mapping[str, Report]:
    """What the client reaches with a server that reads the request and does nothing."""
    photographs = [bytes(kilobytes * 1000)]
    with noop() as url:
        return {
            kind: load(Plan(url, seconds, field=field), photographs)
            for kind, field in (("multipart", "images"), ("raw", ""))
        }


def main() -> None:
    """Prints one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?")
    parser.add_argument("--photos", type=Path, help="a folder of JPEGs")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--connections", type=int, default=16, help="of the closed loop")
    parser.add_argument("--rate", type=float, default=0, help="requests per second, as an open loop")
    parser.add_argument("--arrivals", choices=("poisson", "constant"), default="poisson")
    parser.add_argument("--field", default="images", help='the multipart field; "" for a raw body')
    parser.add_argument("--hold", type=int, default=0, help="every so many requests send their header alone at first")
    parser.add_argument("--most", type=int, default=500, help="connections of the open loop")
    parser.add_argument("--ceiling", action="store_true")
    given = vars(parser.parse_args())
    photos, at_most = given.pop("photos"), given.pop("ceiling")
    if at_most:
        print(json.dumps(ceiling(given["seconds"])))
        return
    if not given["url"] or not photos:
        parser.error("a URL and --photos are needed")
    print(json.dumps(carry_out(Plan(**given), [path.read_bytes() for path in sorted(photos.glob("*.jp*g"))])))


if __name__ == "__main__":
    main()
