"""A server that reads each request whole and does nothing: what is left is HTTP and the load test itself.

Or it waits before it answers, each request for as long, however many there are: then all latencies are known.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection as Pipe
from typing import cast

import httptools
import uvloop

from cli.loadtest.processes import processes


class NoServer:
    """`url`, and the processor time that it has used."""

    def __init__(self, url: str, pipes: list[Pipe]) -> None:
        self.url = url
        self._pipes = pipes

    def cpu_seconds(self) -> float:
        """Of all its processes, so far."""
        for pipe in self._pipes:
            pipe.send(True)
        return sum(float(pipe.recv()) for pipe in self._pipes)


@contextmanager
def noop(images: int = 1, number: int = 1, seconds: float = 0) -> Iterator[NoServer]:
    """Such a server of so many processes on loopback. It answers every POST as if with `images` rows, after `seconds`.

    They are counted in whole milliseconds.
    """
    with (
        socket.create_server(("127.0.0.1", 0), backlog=512) as listener,
        processes("cli.loadtest.noop", number, [listener.fileno()]) as pipes,
    ):
        for pipe in pipes:
            pipe.send((listener.fileno(), images, seconds))
        yield NoServer(f"http://127.0.0.1:{listener.getsockname()[1]}", pipes)


def main(pipe: Pipe) -> None:
    """What a process of it runs, until its parent is gone."""
    with suppress(EOFError, OSError):
        handle, images, seconds = pipe.recv()
        uvloop.run(_answer_all(socket.socket(fileno=handle), images, seconds, pipe))


async def _answer_all(listener: socket.socket, images: int, seconds: float, pipe: Pipe) -> None:
    loop, gone = asyncio.get_running_loop(), asyncio.Event()

    def asked() -> None:
        try:
            pipe.recv()
            pipe.send(time.process_time())
        except (EOFError, OSError):
            gone.set()

    loop.add_reader(pipe.fileno(), asked)
    answers = _answer(_predicted(images)), _answer(_inferred(images))
    await loop.create_server(lambda: _Nothing(*answers, seconds), sock=listener)
    await gone.wait()


def _predicted(images: int) -> object:
    predictions = [{"label": "nothing", "index": index, "probability": 0.2} for index in range(5)]
    row = {"name": "picture.jpg", "status": "ok", "predictions": predictions}
    return {"model": "none", "precision": "fp32", "results": [row] * images}


def _inferred(images: int) -> object:
    output = {"name": "label", "datatype": "BYTES", "shape": [images, 5], "data": ["nothing"] * 5 * images}
    return {"model_name": "none", "outputs": [output]}


def _answer(body: object) -> bytes:
    data = json.dumps(body, separators=(",", ":")).encode()
    header = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return header.encode() + data


class _Nothing(asyncio.Protocol):
    """Answers when the request is complete."""

    def __init__(self, predicted: bytes, inferred: bytes, seconds: float) -> None:
        self._predicted = predicted
        self._inferred = inferred
        self._seconds = seconds
        self._infer = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        """Part of a request."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Which of the two it is."""
        self._infer = url.endswith(b"/infer")

    def on_message_complete(self) -> None:
        """A whole request."""
        answer = self._inferred if self._infer else self._predicted
        if self._seconds:
            asyncio.get_running_loop().call_later(self._seconds, self._later, answer)
        else:
            self._transport.write(answer)

    def _later(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)
