"""The load generator: it counts what happened, and does not spare a server that stalls."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from bench import client
from bench.client import Plan, carry_out, load
from tests.servers import free_port

PHOTOGRAPHS = [b"first" * 1000, b"second" * 1000]
EIGHT = {"seconds": 0.25, "rate": 32, "arrivals": "constant"}

Conversation = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextmanager
def server(talk: Conversation) -> Iterator[str]:
    """An address where every connection is `talk`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(asyncio.start_server(talk, "127.0.0.1", 0), loop).result(5)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/predict"
    finally:
        loop.call_soon_threadsafe(listening.close)
        asyncio.run_coroutine_threadsafe(_end_tasks(), loop).result(5)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(5)
        loop.close()


async def _end_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def read_header(reader: asyncio.StreamReader) -> int:
    """Reads a header; the bytes of the body that it announces."""
    header = await reader.readuntil(b"\r\n\r\n")
    return int(header.lower().split(b"content-length: ")[1].split(b"\r\n")[0])


async def read_request(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(await read_header(reader))


def answer(status: int) -> bytes:
    return f"HTTP/1.1 {status} Whatever\r\nContent-Length: 2\r\n\r\n{{}}".encode()


def taking_turns(*what: int | str) -> Conversation:
    """Each request gets the next status; "drop" ends its connection in silence."""
    turns = itertools.cycle(what)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            turn = next(turns)
            if turn == "drop":
                writer.transport.abort()
                return
            writer.write(answer(int(turn)))

    return talk


def test_every_request_is_counted_by_what_became_of_it() -> None:
    with server(taking_turns(200, 429, "drop", 500)) as url:
        report = load(Plan(url, **EIGHT), PHOTOGRAPHS)
    assert report["counts"] == {"200": 2, "429": 2, "500": 2, "dropped": 2}
    assert sum(row["due"] for row in report["timeline"]) == 8
    assert sum(row["answered"] for row in report["timeline"]) == 2
    assert set(report["latency_ms"]) == set(report["refusal_ms"]) == {"p50", "p95", "p99"}


def test_the_closed_loop_has_as_many_questions_open_as_connections() -> None:
    open_now, most = 0, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now, most
        while True:
            await read_request(reader)
            open_now += 1
            most = max(most, open_now)
            await asyncio.sleep(0.02)
            open_now -= 1
            writer.write(answer(200))

    with server(talk) as url:
        report = carry_out(Plan(url, 0.3, connections=3), PHOTOGRAPHS)
    assert most == 3
    assert report["counts"]["200"] >= 3
    assert report["rate"] <= 3 / 0.02


def test_latency_counts_from_when_a_request_was_due() -> None:
    """One connection and 0.1 s an answer: the eighth request, due after 0.22 s, has its answer after 0.8 s at best."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await read_request(reader)
            await asyncio.sleep(0.1)
            writer.write(answer(200))

    with server(talk) as url:
        report = carry_out(Plan(url, most=1, **EIGHT), PHOTOGRAPHS)
    assert report["counts"] == {"200": 8}
    assert report["latency_ms"]["p99"] > 500
    assert report["timeline"][0]["slowest_ms"] > 500


def test_what_is_sent_is_the_photograph() -> None:
    bodies: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            bodies.append(await read_request(reader))
            writer.write(answer(200))

    with server(talk) as url:
        carry_out(Plan(url, field="", **EIGHT), PHOTOGRAPHS)
        assert set(bodies) == set(PHOTOGRAPHS)
        bodies.clear()
        carry_out(Plan(url, field="images", **EIGHT), PHOTOGRAPHS)
    assert all(b'name="images"' in body and any(p in body for p in PHOTOGRAPHS) for body in bodies)


def test_a_refusal_before_the_body_is_told_from_one_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.connection.HOLD_SECONDS", 0.1)

    async def at_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_header(reader)
        writer.write(answer(429))

    with server(at_once) as url:
        report = carry_out(Plan(url, hold=1, **EIGHT), PHOTOGRAPHS)
    assert report["counts"] == {"429": 8}
    assert report["held"] == {"sent": 8, "refused": 8, "refused_before_body": 8}
    with server(taking_turns(429)) as url:
        report = carry_out(Plan(url, hold=1, **EIGHT), PHOTOGRAPHS)
    assert report["counts"] == {"429": 8}
    assert report["held"] == {"sent": 8, "refused": 8, "refused_before_body": 0}


def test_where_nobody_listens_requests_are_dropped() -> None:
    report = carry_out(Plan(f"http://127.0.0.1:{free_port()}/", **EIGHT), PHOTOGRAPHS)
    assert report["counts"] == {"dropped": 8}
    assert report["rate"] == 0


def test_what_is_never_answered_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PATIENCE", 0.2)

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    with server(silent) as url:
        report = carry_out(Plan(url, **EIGHT), PHOTOGRAPHS)
    assert report["counts"] == {"timeout": 8}
