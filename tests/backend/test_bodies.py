"""Bodies in memory: who holds much must send on, and what would take long to parse is refused before."""

import asyncio
import base64
import json
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from backend.api.bodies import BadJson, Bodies
from backend.api.errors import ApiError
from tests.servers import serve


def parsed(text: bytes, most_parts: int = 10_000) -> Any:
    bodies = Bodies(10**9, 30)
    try:
        return asyncio.run(bodies.parsed(bytearray(text), most_parts, lambda value: value))
    finally:
        bodies.close()


LARGE = base64.b64encode(bytes(range(256)) * 12_000)  # over several of the pieces that it is looked over in
PHP = base64.b64encode(bytes(range(256)) * 12_000).replace(b"/", b"\\/")
WRAPPED = b"\\n".join(LARGE[at : at + 76] for at in range(0, len(LARGE), 76))


@pytest.mark.parametrize(
    "text",
    [
        b'{"images": [{"base64": "' + LARGE + b'", "name": "K\xc3\xa4se \\"1\\".jpg"}]}',
        b'"' + PHP + b'"',
        b'"' + WRAPPED + b'"',
        b'"' + b"0" * 3_000_000 + b'"',
        json.dumps([[[[0.25, 255, -1]] * 10] * 100], indent=4).encode(),
        b"[" + b"1" * 20 + b"]",
        b'{"' + b'":1,"'.join(b"%d" % n for n in range(5000)) + b'":1}',
        b'{"url":"https://cdn.example/p/img-202411220219421234567890.jpg","b":" 000000000000000000000000"}',
        b'["a\\"-202411220219421234567890", "b\\\\", "c\\\\\\":202411220219421234567890"]',
    ],
    ids=["base64", "escaped slashes", "wrapped", "zeros", "indented", "20 digits", "keys", "names", "quotes"],
)
def test_what_programs_send_is_parsed(text: bytes) -> None:
    assert parsed(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"[" + b"9" * 21 + b"]", "digits"),
        (b'{"a":-' + b"9" * 4000 + b"}", "digits"),
        (b'["' + LARGE + b'",\t' + b"9" * 30 + b"]", "digits"),
        (b'["-' + b"1" * 30 + b'\\\\", ' + b"9" * 30 + b', ""]', "digits"),
        (b"[" + b"[]," * 10_000 + b"1]", "parts"),
        (b'{"' + b'":1,"'.join(b"%d" % n for n in range(10_001)) + b'":1}', "strings"),
        (b'"' + b'\\"' * 20_001 + b'"', "strings"),
        (b'"' + b"\\u0041" * 50_000 + b'"', "escapes"),
        (b'"' + b"\\/" * 50_000 + b'"', "escapes"),
        (b'"' + "ä".encode() * 50_000 + b'"', "escapes"),
        (b"[" + b" " * 400_000 + b"]", "spaces"),
    ],
    ids=[
        "21",
        "negative",
        "after base64",
        "after names",
        "lists",
        "keys",
        "quotes",
        "u",
        "slashes",
        "umlauts",
        "spaces",
    ],
)
def test_what_would_take_long_to_parse_is_refused(text: bytes, words: str) -> None:
    """Nothing else runs while it is parsed: of each of these the largest body would take seconds."""
    json.loads(text)  # it is JSON
    with pytest.raises(BadJson, match=words):
        parsed(text, 20_000 if words == "strings" else 10_000)


def test_a_long_number_is_found_wherever_it_lies() -> None:
    for before in range(2**20 - 30, 2**20 + 5):  # about where the second piece begins
        with pytest.raises(BadJson, match="digits"):
            parsed(b'["' + b"A" * before + b'",' + b"9" * 21 + b"]")


class Sender:
    """A request whose body comes in pieces, each after so many seconds of a clock of its own."""

    def __init__(self, *pieces: tuple[float, int]) -> None:
        self.now = 1000.0
        self._pieces = pieces

    async def stream(self) -> AsyncIterator[bytes]:
        for seconds, size in self._pieces:
            self.now += seconds
            yield bytes(size)
        yield b""

    def receive(self) -> int:
        """How many bytes came, with 30 s of patience."""

        async def main() -> int:
            bodies = Bodies(10**9, 30, lambda: self.now)
            try:
                async with bodies.whole(self) as body:  # type: ignore[arg-type]
                    assert bodies._held == len(body)
                    return len(body)
            finally:
                assert bodies._held == 0
                bodies.close()

        return asyncio.run(main())


@pytest.mark.parametrize(
    "pieces",
    [
        [(29, 1)] * 4,
        [(1, 10_000)] * 250,
        [(29, 100_000), (29, 1), (29, 20_000)],
        [(0, 1_000_000)],
        [(1, 0)] * 100,
    ],
    ids=["little", "steadily", "a pause", "at once", "nothing"],
)
def test_who_sends_on_may_be_slow(pieces: list[tuple[float, int]]) -> None:
    assert Sender(*pieces).receive() == sum(size for _, size in pieces)


def test_who_holds_memory_must_send_on() -> None:
    """Much at first and then a byte now and then: never silent, and yet it would keep everybody else out."""
    sender = Sender((1, 1_000_000), *[(29.0, 1)] * 100)
    with pytest.raises(ApiError, match="too slowly") as raised:
        sender.receive()
    assert (raised.value.status, raised.value.code) == (408, "upload_stalled")
    assert sender.now <= 1000 + 4 * 30


def test_a_server_gives_such_a_sender_up(models_dir: Path) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    head += b"Content-Length: 900000\r\n\r\n"
    with serve(models_dir, threads=1, model="resnet18-seeded", stall_seconds=3) as server:
        assert server.app is not None
        address, over = urlsplit(server.url), threading.Event()
        with socket.create_connection((address.hostname, address.port), timeout=20) as connection:
            connection.sendall(head + b" " * 100_000)
            trickle = threading.Thread(target=send_slowly, args=(connection, over))
            trickle.start()
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
            over.set()
            trickle.join()
        assert answer.startswith(b"HTTP/1.1 408") and b"too slowly" in answer, answer
        assert server.app.state.bodies._held == 0


def send_slowly(connection: socket.socket, over: threading.Event) -> None:
    for _ in range(150):
        if over.wait(0.1):
            return
        try:
            connection.sendall(b" ")
        except OSError:
            return
