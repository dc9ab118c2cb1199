"""A tiny real server with the batches' API, and the bucket that the parts go to. It reads the zips that it is sent.

A picture whose bytes begin with `bad` is an error row; any other is labelled by its bytes, to tell the rows apart.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from contract.batches import dump
from contract.shards import error_row, skipped_row
from contract.ziplist import extract, read_directory

MODELS = [
    {"name": "small", "default": True, "status": "ready", "reason": None, "variants": [{"precision": "fp32"}]},
    {
        "name": "other",
        "default": False,
        "status": "ready",
        "reason": None,
        "variants": [{"precision": "fp32"}, {"precision": "int8"}],
    },
    {"name": "large", "default": False, "status": "missing", "reason": "its weights cannot be had", "variants": []},
]
ORDER = ["created", "uploaded", "preprocessing", "ready", "predicting", "done"]


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers
        self.body = {"error": {"code": code, "message": message}}


@dataclass
class Held:
    """A batch. `looked`: how often it was asked for in its state; `wanted`: whose pixels the run makes."""

    id: str
    file_name: str
    size_bytes: int
    state: str = "created"
    looked: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)
    error: dict[str, str] | None = None
    run: dict[str, str] | None = None
    wanted: str = ""
    restartable: bool = False
    transforms: set[str] = field(default_factory=lambda: {"small"})
    variant: tuple[str, str] | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def zip(self) -> bytes:
        return b"".join(self.parts[part] for part in sorted(self.parts))

    def classify(self) -> None:
        label = self.variant[0] if self.variant else ""
        data = self.zip
        for entry in read_directory(lambda start, end: data[start:end], len(data)):
            if entry.reason:
                self.rows.append(skipped_row(entry.index, entry.name, entry.reason))
                continue
            content = extract(entry, data[entry.offset : entry.end])
            if content.startswith(b"bad"):
                self.rows.append(error_row(entry.index, entry.name, "corrupt", "It is damaged."))
            else:
                word = f"{label}:{content[:40].decode('latin-1')}"
                predictions = [{"label": word, "index": rank, "probability": 0.5**rank} for rank in range(1, 6)]
                row = {"entry": entry.index, "name": entry.name, "status": "ok", "predictions": predictions}
                self.rows.append(row)


class BatchServer:
    """Does everything well, unless a test sets one of the fields below."""

    def __init__(self) -> None:
        self.part_size = 1000
        self.limits = {"zip_bytes": 500_000_000, "entries": 100_000}
        self.notice = ""
        self.off = False
        self.away = 0
        self.refuse_create: Refusal | None = None
        self.refuse_predict: Refusal | None = None
        self.put_answers: dict[int, list[int]] = {}
        self.expired_urls = 0
        self.seconds_a_part = 0.0
        self.lose_parts: set[int] = set()
        self.lose_answer_of_complete = False
        self.looks = 1
        self.hold: str | None = None
        self.lost_events = 0
        self.another_run = ""
        self.runs_end = "SUCCEEDED"
        self.fail_in: dict[str, tuple[str, dict[str, str]]] = {}
        self.break_results = 0
        self.drop_rows = 0
        self.batches: dict[str, Held] = {}
        self.deleted: list[str] = []
        self.asked: list[tuple[str, str]] = []
        self.puts: Counter[int] = Counter()
        self.putting = self.most_putting = self.most_in_flight = 0
        self.lock = threading.RLock()
        self.bucket = ""

    def of(self, file_name: str) -> Held:
        return next(held for held in self.batches.values() if held.file_name == file_name)

    # -- one method a route ------------------------------------------------------------------------------------

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.off:
            raise Refusal(503, "batches_off", "This server takes no batches. Set NINEFOLD_BUCKET.")
        if self.away and path != "/v1/batches":
            self.away -= 1
            raise Refusal(503, "storage_away", "The storage does not answer.", **{"Retry-After": "0"})
        if path == "/v1/models":
            return 200, {"models": MODELS}
        if path == "/v1/batches":
            return self.create(body) if method == "POST" else self.overview()
        found = re.fullmatch(r"/v1/batches/([^/]+)(/.*)?", path)
        if not found or found[1] not in self.batches:
            raise Refusal(404, "unknown_batch", "There is no such batch.")
        held, rest = self.batches[found[1]], found[2] or ""
        if method == "DELETE":
            self.deleted.append(held.id)
            del self.batches[held.id]
            return 204, None
        routes = {
            "": self.look,
            "/upload": self.arrived,
            "/upload/urls": self.urls,
            "/upload/complete": self.complete,
            "/preprocess": self.preprocess,
            "/predict": self.predict,
        }
        return routes[rest](held, body)

    def overview(self) -> tuple[int, Any]:
        return 200, {"batches": [], "notice": {"message": self.notice, "disposable": True}, "limits": self.limits}

    def create(self, body: Any) -> tuple[int, Any]:
        if self.refuse_create:
            raise self.refuse_create
        held = Held(f"B{len(self.batches) + len(self.deleted) + 1}", body["filename"], body["size_bytes"])
        self.batches[held.id] = held
        in_flight = [one for one in self.batches.values() if one.state not in ("done", "failed")]
        self.most_in_flight = max(self.most_in_flight, len(in_flight))
        parts = -(-held.size_bytes // self.part_size)
        return 201, {"id": held.id, "upload": {"part_size": self.part_size, "parts": parts}}

    def urls(self, held: Held, body: Any) -> tuple[int, Any]:
        assert len(body["parts"]) <= 64
        urls = {}
        for part in body["parts"]:
            good = "expired" if self.expired_urls > 0 else "good"
            self.expired_urls -= 1
            urls[str(part)] = f"{self.bucket}/bucket/{held.id}/{part}?signature={good}"
        return 200, {"urls": urls, "expires_seconds": 900}

    def arrived(self, held: Held, _: Any) -> tuple[int, Any]:
        arrived = [{"part": part, "size_bytes": len(data)} for part, data in sorted(held.parts.items())]
        return 200, {"part_size": self.part_size, "arrived": arrived}

    def complete(self, held: Held, _: Any) -> tuple[int, Any]:
        if held.state != "created":
            raise Refusal(409, "wrong_state", "The upload is complete.")
        for part in self.lose_parts:
            held.parts.pop(part, None)
        self.lose_parts = set()
        if len(held.zip) != held.size_bytes:
            raise Refusal(409, "parts_missing", "Some parts are missing.")
        held.state = "uploaded"
        if self.lose_answer_of_complete:
            self.lose_answer_of_complete = False
            raise Refusal(502, "bad_gateway", "Nobody answers.")
        return 200, self.body(held)

    def look(self, held: Held, _: Any) -> tuple[int, Any]:
        held.looked += 1
        state, error = self.fail_in.get(held.file_name, (None, None))
        if held.state == state:
            held.state, held.error = "failed", error
        elif held.state == "uploaded" and self.lost_events:
            held.restartable = True
        elif held.state in ("uploaded", "preprocessing", "predicting") and held.looked > self.looks:
            self.move(held)
        elif held.wanted and held.looked > self.looks:  # another model's run ends
            # A run whose pixels are there is older than their manifest: nobody asks Glue about it any more.
            held.run = {"id": "jr_2", "state": "" if self.runs_end == "SUCCEEDED" else self.runs_end}
            held.transforms |= {held.wanted} if self.runs_end == "SUCCEEDED" else set()
            held.wanted = ""
        return 200, self.body(held)

    def move(self, held: Held) -> None:
        if held.state == self.hold:
            return
        held.state, held.looked = ORDER[ORDER.index(held.state) + 1], 0
        if held.state in ("preprocessing", "ready"):
            held.run = {"id": "jr_1", "state": "RUNNING" if held.state == "preprocessing" else ""}
        if held.state == "ready" and self.another_run:
            held.wanted, held.run = self.another_run, {"id": "jr_2", "state": "RUNNING"}
            self.another_run = ""
        if held.state == "done":
            held.classify()

    def preprocess(self, held: Held, body: Any) -> tuple[int, Any]:
        model = body.get("model", "small")
        if model in held.transforms and held.state != "uploaded":
            raise Refusal(409, "wrong_state", "This batch is preprocessed already.")
        if held.wanted or held.state == "preprocessing":
            raise Refusal(409, "wrong_state", "A run is at it already. Wait for it, or delete the batch.")
        if held.state == "uploaded":
            if not held.restartable:
                raise Refusal(409, "wrong_state", "The job is being started. Look again in a minute.")
            self.lost_events -= 1
            held.restartable = False
            return 202, self.body(held)
        held.run, held.wanted, held.looked = {"id": "jr_2", "state": "RUNNING"}, model, 0
        return 202, self.body(held)

    def predict(self, held: Held, body: Any) -> tuple[int, Any]:
        model, precision = body.get("model", "small"), body.get("precision", "fp32")
        if self.refuse_predict:
            raise self.refuse_predict
        if held.state != "ready":
            raise Refusal(409, "wrong_state", "The batch is not ready.")
        if model not in held.transforms:
            raise Refusal(409, "needs_preprocessing", "The model needs other pixels.")
        held.state, held.looked, held.variant = "predicting", 0, (model, precision)
        return 202, self.body(held)

    def body(self, held: Held) -> dict[str, Any]:
        stage = held.state if held.state in ("preprocessing", "predicting") else None
        progress = {"stage": stage, "detail": "the job is starting", "done": held.looked, "total": 100}
        predictions = []
        if held.variant:
            state = held.state if held.state in ("done", "failed") else "predicting"
            predictions = [
                {
                    "model": held.variant[0],
                    "precision": held.variant[1],
                    "state": state,
                    "done": 1,
                    "total": 2,
                    "error": held.error,
                    "counts": None,
                }
            ]
        return {
            "id": held.id,
            "filename": held.file_name,
            "state": held.state,
            "error": held.error,
            "restartable": held.restartable,
            "run": held.run,
            "progress": progress if stage else None,
            "predictions": predictions,
        }

    def put(self, batch: str, part: int, signature: str, data: bytes) -> int:
        with self.lock:
            self.putting += 1
            self.most_putting = max(self.most_putting, self.putting)
        time.sleep(self.seconds_a_part)
        with self.lock:
            self.putting -= 1
            self.puts[part] += 1
            if signature == "expired":
                return 403
            status = self.put_answers[part].pop(0) if self.put_answers.get(part) else 200
            if status == 200 and batch in self.batches:
                self.batches[batch].parts[part] = data
            return status


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, batches: BatchServer) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.batches = batches

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away in the middle is what some tests are about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Listener

    def handle_any(self) -> None:
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        data = self.rfile.read(int(self.headers.get("content-length", 0)))
        if url.path.startswith("/bucket/"):
            self.take_part(url.path, query, data)
            return
        fake = self.server.batches
        with fake.lock:
            fake.asked.append((self.command, url.path))
            try:
                if url.path.endswith("/results"):
                    self.send_results(fake, fake.batches[url.path.split("/")[3]], query)
                    return
                status, body = fake.answer(self.command, url.path, json.loads(data) if data else None)
                self.reply(status, b"" if body is None else json.dumps(body).encode())
            except Refusal as refusal:
                self.reply(refusal.status, json.dumps(refusal.body).encode(), refusal.headers)

    do_GET = do_POST = do_PUT = do_DELETE = handle_any  # noqa: N815

    def take_part(self, path: str, query: dict[str, str], data: bytes) -> None:
        assert "transfer-encoding" not in self.headers, "S3 takes no chunked parts"
        _, _, batch, part = path.split("/")
        status = self.server.batches.put(batch, int(part), query["signature"], data)
        self.reply(status, b"<Error><Code>AccessDenied</Code></Error>" if status != 200 else b"")

    def send_results(self, fake: BatchServer, held: Held, query: dict[str, str]) -> None:
        assert query["format"] == "jsonl" and (query["model"], query["precision"]) == held.variant
        lines = [dump(row) + b"\n" for row in held.rows[: len(held.rows) - fake.drop_rows]]
        self.send_response(200)
        self.send_header("Content-Length", str(sum(map(len, lines))))
        self.end_headers()
        if fake.break_results:
            fake.break_results -= 1
            self.wfile.write(b"".join(lines[: len(lines) // 2])[:-5])
            self.close_connection = True
        else:
            self.wfile.write(b"".join(lines))

    def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@contextmanager
def batch_server() -> Iterator[tuple[str, BatchServer]]:
    """Its address, and the server to be set and looked at."""
    server = BatchServer()
    listener = _Listener(server)
    server.bucket = f"http://127.0.0.1:{listener.server_port}"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.bucket, server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join(10)
