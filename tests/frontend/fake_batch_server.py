"""A tiny real HTTP service with the API of batches; a second one on its own port takes parts, as S3 would."""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from PIL import Image, ImageOps

from tests.frontend.fake_batches import FakeBatch, Refusal, Shelf, as_csv, jsonl
from tests.frontend.fake_server import MODELS

SAMPLES = Path(__file__).parents[2] / "frontend" / "samples"
PICTURES = ["cat", "espresso", "macaw", "viaduct", "german-shepherd", "polar-bear", "lemur", "koala", "bison"]
DROP = 0
"""Instead of a status: the connection is closed without a word."""


@dataclass
class Answer:
    """What goes back."""

    status: int
    body: bytes = b""
    kind: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


class FakeStorage:
    """Takes PUT /{batch}/{part}. `faults`: for a part, the statuses (or DROP) that its next attempts get."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.puts: list[int] = []
        """Parts in the order in which they were tried."""
        self.faults: dict[int, list[int]] = {}
        self.seconds = 0.0
        self.unheld = Event()
        """Cleared: parts wait until it is set. A part in `free` does not."""
        self.unheld.set()
        self.free: set[int] = set()
        self.most = 0
        """The most parts that were under way at once."""
        self._now = 0
        self._lock = Lock()
        self._http = _serve(self._answer)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def close(self) -> None:
        """Frees the port."""
        self.unheld.set()
        _close(self._http)

    def _answer(self, _method: str, address: str, body: bytes) -> Answer | None:
        batch_id, number = urlsplit(address).path.strip("/").split("/")
        part = int(number)
        with self._lock:
            self.puts.append(part)
            self._now += 1
            self.most = max(self.most, self._now)
        time.sleep(self.seconds)
        if part not in self.free:
            self.unheld.wait(30)
        with self._lock:
            self._now -= 1
        faults = self.faults.get(part)
        if faults:
            fault = faults.pop(0)
            return None if fault == DROP else Answer(fault, b"<Error/>", "application/xml")
        batch = self.shelf.batches.get(batch_id)
        if batch is None:
            return Answer(404, b"<Error><Code>NoSuchUpload</Code></Error>", "application/xml")
        batch.blobs[part] = body
        return Answer(200, headers={"ETag": f'"{part}"'})


class FakeBatchServer:
    """Answers as the server would, unless `prepared` (per method and path) holds refusals or DROP."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self.shelf = shelf or Shelf()
        self.storage = FakeStorage(self.shelf)
        self.prepared: dict[str, list[Refusal | int]] = {}
        self.asked: list[str] = []
        """`METHOD path` of every request but the polls."""
        self.signed: list[list[int]] = []
        self.models = [dict(MODELS[0]), dict(MODELS[1])]
        self._http = _serve(self._answer)
        self.url = f"http://127.0.0.1:{self._http.server_port}"

    def reset(self) -> None:
        """As new, at the same addresses."""
        self.storage.unheld.set()
        self.shelf = self.storage.shelf = Shelf()
        self.prepared, self.asked, self.signed = {}, [], []
        self.models = [dict(MODELS[0]), dict(MODELS[1])]
        self.storage.puts, self.storage.faults, self.storage.free = [], {}, set()
        self.storage.seconds, self.storage.most = 0.0, 0

    def close(self) -> None:
        """Frees both ports."""
        _close(self._http)
        self.storage.close()

    def _answer(self, method: str, address: str, body: bytes) -> Answer | None:
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        told = f"{method} {path}"
        if told not in ("GET /v1/batches", "GET /readyz", "GET /v1/models"):
            self.asked.append(told)
        try:
            if self.prepared.get(told):
                prepared = self.prepared[told].pop(0)
                if isinstance(prepared, int):
                    return None
                raise prepared
            return self._route(method, path, query, json.loads(body) if body else {})
        except Refusal as refusal:
            error = {"error": {"code": refusal.code, "message": refusal.message}}
            return Answer(refusal.status, json.dumps(error).encode(), headers={"Retry-After": "1"})

    def _route(self, method: str, path: str, query: dict[str, list[str]], body: dict[str, Any]) -> Answer:
        if path == "/v1/models":
            return _json({"models": self.models})
        if path == "/readyz":
            return _json({"status": "ready"})
        if path == "/v1/batches":
            return _json(self.shelf.create(**body), 201) if method == "POST" else _json(self.shelf.listing())
        found = re.fullmatch(r"/v1/batches/([^/]+)(/.*)?", path)
        if not found:
            return _json({"error": {"code": "not_found", "message": path}}, 404)
        return self._of_batch(method, self.shelf.get(found[1]), found[2] or "", query, body)

    def _of_batch(
        self, method: str, batch: FakeBatch, rest: str, query: dict[str, list[str]], body: dict[str, Any]
    ) -> Answer:
        if rest.startswith("/pixels/"):
            return Answer(200, _pixels(int(rest.rsplit("/", 1)[1])), "image/jpeg")
        if rest == "/upload/urls":
            self.signed.append(body["parts"])
            urls = {str(part): f"{self.storage.url}/{batch.id}/{part}" for part in body["parts"]}
            return _json({"urls": urls, "expires_seconds": 900})
        answers: dict[tuple[str, str], Callable[[], Answer]] = {
            ("GET", "/upload"): lambda: _json(self.shelf.arrived(batch)),
            ("POST", "/upload/complete"): lambda: _json(self.shelf.complete(batch)),
            ("GET", ""): lambda: _json(batch.as_json()),
            ("DELETE", ""): lambda: (self.shelf.delete(batch), Answer(204))[1],
            ("POST", "/preprocess"): lambda: _json(self.shelf.preprocess(batch, body.get("model")), 202),
            ("POST", "/predict"): lambda: _json(self.shelf.predict(batch, body["model"], body["precision"]), 202),
            ("GET", "/results"): lambda: _results(batch, query),
        }
        return answers[method, rest]()


def _results(batch: FakeBatch, query: dict[str, list[str]]) -> Answer:
    form, model, precision = (query[key][0] for key in ("format", "model", "precision"))
    if not any((p["model"], p["precision"], p["state"]) == (model, precision, "done") for p in batch.predictions):
        raise Refusal(409, "wrong_state", "There are no results of this variant.")
    texts = {
        "csv": lambda: as_csv(batch.rows),
        "jsonl": lambda: "".join(jsonl(batch.rows)),
        "json": lambda: json.dumps({"id": batch.id, "filename": batch.name, "results": batch.rows}),
    }
    attachment = {"Content-Disposition": f'attachment; filename="{batch.id}.{form}"'}
    return Answer(200, texts[form]().encode(), "text/plain; charset=utf-8", attachment)


@lru_cache
def _pixels(entry: int) -> bytes:
    with Image.open(SAMPLES / f"{PICTURES[entry % len(PICTURES) if entry % 3 else 0]}.jpg") as image:
        out = io.BytesIO()
        ImageOps.fit(image.convert("RGB"), (224, 224)).save(out, "JPEG")
        return out.getvalue()


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode())


def _serve(answer: Callable[[str, str, bytes], Answer | None]) -> ThreadingHTTPServer:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(answer))
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return http


def _close(http: ThreadingHTTPServer) -> None:
    http.shutdown()
    http.server_close()


def _handler(answer: Callable[[str, str, bytes], Answer | None]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            found = answer(self.command, self.path, body)
            if found is not None:
                self._send(found)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815

        def do_OPTIONS(self) -> None:
            allowed = {"Access-Control-Allow-Methods": "GET, POST, PUT, DELETE"}
            self._send(Answer(204, headers={**allowed, "Access-Control-Allow-Headers": "content-type"}))

        def _send(self, found: Answer) -> None:
            # As S3 without ExposeHeaders: the browser may read the body, not the ETag.
            headers = {"Access-Control-Allow-Origin": self.headers.get("Origin", "*"), "Content-Type": found.kind}
            try:
                self.send_response(found.status)
                for name, value in {**headers, **found.headers, "Content-Length": str(len(found.body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(found.body)
            except ConnectionError:
                pass  # cancelled by the other side

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
