"""Ten cameras at once, one of which reads slowly or floods: what the other nine notice, and the server's memory.

    python -m bench.live_clients

Each of the nine sends three frames a second and reads every answer. The tenth is a process of its own, sends twenty a
second, and asks for twenty labels a frame, the most that there are. By turns it reads all of it, reads one answer a
second, or sends without pause and connects again whenever it is closed. What it does not read fills what lies between
after some hundred answers, and five seconds later the server closes it: give it twenty seconds a turn. It connects
again. A latency is from sending a frame to its answer, at the client.
"""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import multiprocessing
import os
import socket
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from bench.servers import own_server, resident_megabytes
from bench.table import options, ran_on, ratios, spread, turns

CAMERAS, FPS, TENTHS_FPS = 9, 3.0, 20.0
PICTURE = Path(__file__).resolve().parents[1] / "frontend" / "samples" / "koala.jpg"
QUICK, SLOW, FLOOD = "reads all of it", "reads one answer a second", "floods"


Tenth = Callable[[str, bytes, float], Coroutine[None, None, Counter[str]]]
"""Address, frame, when to end (perf_counter) → how its connections ended."""


def picture() -> bytes:
    """A JPEG of 640×480."""
    file = io.BytesIO()
    Image.open(PICTURE).convert("RGB").resize((640, 480)).save(file, "JPEG", quality=85)
    return file.getvalue()


async def send(connection: ClientConnection, frame: bytes, until: float, sent: dict[int, float], fps: float) -> None:
    """At a steady rate; `sent` gets when each frame was sent, by its number."""
    begun = time.perf_counter()
    for number in itertools.count(1):
        if (now := time.perf_counter()) >= until:
            return
        sent[number] = now
        await connection.send(frame)
        await asyncio.sleep(max(0.0, begun + number / fps - time.perf_counter()))


async def camera(url: str, frame: bytes, until: float, late: float) -> list[float]:
    """Milliseconds to each answer, of one of the nine; it begins `late` seconds later."""
    await asyncio.sleep(late)
    sent: dict[int, float] = {}
    found: list[float] = []
    async with connect(url, compression=None) as connection, asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(send(connection, frame, until, sent, FPS))
        while not sending.done() or found == []:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    answer = json.loads(await connection.recv())
                    found.append(1000 * (time.perf_counter() - sent[answer["frame"]]))
    return found


async def tenth(url: str, frame: bytes, until: float, pause: float) -> Counter[str]:
    """Sends at its rate, reads with pauses, and connects again where the server closed it."""
    ends: Counter[str] = Counter()
    while time.perf_counter() < until:
        try:
            async with _narrow(url) as one, asyncio.TaskGroup() as tasks:
                sending = tasks.create_task(send(one, frame, until, {}, TENTHS_FPS))
                while not sending.done():
                    with suppress(TimeoutError):
                        async with asyncio.timeout(0.2):
                            await one.recv()
                    await asyncio.sleep(min(pause, max(0.0, until - time.perf_counter())))
        except* ConnectionClosed as closed:
            ends[str(getattr(closed.exceptions[0], "rcvd", None) or "cut off, for it did not read")] += 1
    return ends


@asynccontextmanager
async def _narrow(url: str) -> AsyncIterator[ClientConnection]:
    """A connection that holds as little as possible of what was not read."""
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    one.connect((urlsplit(url).hostname, urlsplit(url).port))
    one.setblocking(False)
    async with connect(f"{url}?top_k=20", sock=one, compression=None, max_queue=1, close_timeout=1) as connection:
        yield connection


async def quick(url: str, frame: bytes, until: float) -> Counter[str]:
    """Reads at once."""
    return await tenth(url, frame, until, 0)


async def slow(url: str, frame: bytes, until: float) -> Counter[str]:
    """Reads one answer a second."""
    return await tenth(url, frame, until, 1)


async def flood(url: str, frame: bytes, until: float) -> Counter[str]:
    """Sends without pause, reads, and connects again."""
    ends: Counter[str] = Counter()
    while time.perf_counter() < until:
        try:
            async with connect(f"{url}?top_k=20", compression=None, close_timeout=1) as one:
                reading = asyncio.create_task(_read(one))
                while time.perf_counter() < until:
                    await one.send(frame)
                reading.cancel()
        except ConnectionClosed as closed:
            ends[str(closed.rcvd)] += 1
    return ends


async def _read(connection: ClientConnection) -> None:
    with suppress(ConnectionClosed):
        async for _ in connection:
            pass


TENTHS: dict[str, Tenth] = {QUICK: quick, SLOW: slow, FLOOD: flood}


def alone(name: str, url: str, frame: bytes, seconds: float) -> Counter[str]:
    """What the tenth's process does."""
    return asyncio.run(TENTHS[name](url, frame, time.perf_counter() + seconds))


async def together(
    pool: Executor, url: str, name: str, frame: bytes, seconds: float
) -> tuple[list[float], Counter[str]]:
    """The latencies of the nine, and how the tenth's connections ended."""
    last = asyncio.get_running_loop().run_in_executor(pool, alone, name, url, frame, seconds)
    until = time.perf_counter() + seconds
    async with asyncio.TaskGroup() as tasks:
        nine = [tasks.create_task(camera(url, frame, until, number / CAMERAS / FPS)) for number in range(CAMERAS)]
    return [each for one in nine for each in one.result()], await last


def run(pool: Executor, url: str, root: psutil.Process, rounds: int, seconds: float) -> Table:
    """A row for each way the tenth behaves; the ratios are of the same round."""
    frame, ends = picture(), Counter[str]()
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in TENTHS}
    asyncio.run(together(pool, url, QUICK, frame, 1))  # warm-up
    memory = [resident_megabytes(root)]
    for number in range(rounds):
        for name in turns(list(TENTHS), number):
            latencies, ended = asyncio.run(together(pool, url, name, frame, seconds))
            found[name].append((statistics.median(latencies), float(np.percentile(latencies, 95))))
            ends += ended
        memory.append(resident_megabytes(root))
    table = Table("the tenth", "p50 of the nine, ms", "p95, ms", "p50, times that beside a quick one", "p95, times")
    for name, rows in found.items():
        both, base = zip(*rows, strict=True), zip(*found[QUICK], strict=True)
        shares = [spread(ratios(ours, theirs), 2) for ours, theirs in zip(both, base, strict=True)]
        table.add_row(name, *(spread(each) for each in zip(*rows, strict=True)), *shares)
    closed = "; ".join(f"{count} × {reason}" for reason, count in ends.items()) or "none"
    table.caption = (
        f"closed: {closed}\nserver's memory before and after each round: "
        f"{', '.join(f'{each:.0f}' for each in memory)} MB; {ran_on()}"
    )
    return table


def main() -> None:
    """Starts a server, prints one table."""
    given = options(__doc__, "live_clients", rounds=3, seconds=15).parse_args()
    rounds, seconds = (1, 3.0) if given.quick else (given.rounds, given.seconds)
    model = os.environ.get("NINEFOLD_MODEL") or "efficientnet_lite0"
    with (
        own_server(NINEFOLD_MODEL=model, NINEFOLD_PRECISION=given.precision) as (url, root),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool,
    ):
        Console(width=150).print(run(pool, f"ws{url[4:]}/v1/live", root, rounds, seconds))


if __name__ == "__main__":
    main()
