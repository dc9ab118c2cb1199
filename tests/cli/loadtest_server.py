"""A server with known behaviour: it notes every request, and answers each as a script says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

IMAGES_HEADER = b'name="images"'


@dataclass
class Asked:
    """One request, as it came."""

    path: str
    headers: Message
    body: bytes


@dataclass
class Known:
    """`script(n, asked, handler)` answers the n-th POST; what it returns is sent as a 200, unless it is None."""

    script: Callable[[int, Asked, Any], object]
    gets: dict[str, object] = field(default_factory=dict)
    posts: list[Asked] = field(default_factory=list)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    server: ThreadingHTTPServer | None = None


def row_ok() -> dict[str, object]:
    return {"name": "x", "status": "ok", "predictions": [{"label": "koala", "index": 105, "probability": 0.9}]}


def row_bad(code: str) -> dict[str, object]:
    return {"name": "x", "status": "error", "error": {"code": code, "message": "No picture."}}


def predicted(*rows: dict[str, object]) -> dict[str, object]:
    return {"model": "m", "precision": "p", "results": list(rows)}


def fine(_: int, asked: Asked, __: object) -> object:
    """As many rows as the request has pictures; for the Open Inference Protocol, as many as its shape says."""
    if asked.path.endswith("/infer"):
        header = json.loads(asked.body[: int(asked.headers["inference-header-content-length"])])
        return {"model_name": "m", "outputs": [{"name": "label", "shape": header["inputs"][0]["shape"], "data": []}]}
    return predicted(*[row_ok()] * asked.body.count(IMAGES_HEADER))


def send(handler: BaseHTTPRequestHandler, body: object, status: int = 200, **headers: str) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(data)))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(data)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    known: Known

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = Asked(self.path, self.headers, body)
        with self.known.lock:
            self.known.posts.append(asked)
            number = len(self.known.posts) - 1
        answer = self.known.script(number, asked, self)
        if answer is not None:
            send(self, answer)

    def do_GET(self) -> None:
        if self.path in self.known.gets:
            send(self, self.known.gets[self.path])
        else:
            send(self, {"error": {"code": "not_found", "message": "There is nothing here."}}, 404)

    def log_message(self, *_: object) -> None: ...


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, *_: object) -> None: ...


@contextmanager
def known(script: Callable[[int, Asked, Any], object] = fine, **gets: object) -> Iterator[Known]:
    """Such a server on loopback."""
    state = Known(script, gets)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"known": state}))
    state.url, state.server = f"http://127.0.0.1:{server.server_port}", server
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def wait_for(what: Callable[[], object], seconds: float = 20) -> None:
    """Until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.01)
