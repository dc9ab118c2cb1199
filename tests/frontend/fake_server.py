"""A tiny real HTTP service with the API's shape, for everything the page does without a classifier."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

LABELS = ["cat", "dog", "cup", "bird", "fish", "tree", "car", "boat", "hat", "bell"]
MODELS = [
    {
        "name": "small",
        "title": "Small",
        "default": True,
        "status": "ready",
        "reason": "large, the default, is missing: its weights cannot be had. To add it: ninefold models build large",
        "transform": {"resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0, 0, 0], "std": [1, 1, 1]},
        "variants": [
            {
                "precision": "fp32",
                "default": True,
                "size_bytes": 18_600_000,
                "agreement": {"reference": "torch, float32", "images": 32, "top1": 1.0},
            },
            {"precision": "int8", "default": False},
        ],
        "absent": [{"precision": "pruned", "command": "ninefold models prune small --data DIR"}],
    },
    {
        "name": "large",
        "title": "Large",
        "default": False,
        "status": "missing",
        "reason": "its weights cannot be had. To add it: ninefold models build large",
        "variants": [],
        "absent": [{"precision": "fp32", "command": "ninefold models build large"}],
    },
]
NO_EVALUATION = {"error": {"code": "no_evaluation", "message": "Nothing has been evaluated yet."}}


@dataclass
class Reply:
    """An answer prepared by a test; `body` may be text that is no JSON."""

    status: int
    body: Any
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Asked:
    """A POST /v1/predict as it arrived."""

    query: dict[str, str]
    names: list[str]


def busy(status: int = 429, seconds: str = "0") -> Reply:
    """What an overloaded server says."""
    error = {"code": "overloaded", "message": "The server is busy."}
    return Reply(status, {"error": error}, {"Retry-After": seconds})


class FakeServer:
    """Answers well unless `prepared` (per path, first come first served) holds something else."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.prepared: dict[str, list[Reply]] = {}
        self.models: list[dict[str, Any]] = [dict(model) for model in MODELS]
        self.evaluation: dict[str, Any] | None = None
        self.said: dict[str, list[str]] = {}
        """What a precision answers in place of LABELS."""
        self.most_at_once = 0
        """Predictions that were under way together, at the most."""
        self._under_way = 0
        self._counting = Lock()
        self.unheld = Event()
        """Cleared: predictions wait until it is set."""
        self.unheld.set()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Frees the port."""
        self._http.shutdown()
        self._http.server_close()

    def reply(self, path: str, query: dict[str, str], body: bytes) -> Reply:
        """The next prepared reply of a path, or the good one."""
        if path == "/v1/predict":
            self.asked.append(Asked(query, [name.decode() for name in re.findall(rb'; filename="(.*?)"', body)]))
        if self.prepared.get(path):
            return self.prepared[path].pop(0)
        if path == "/v1/predict":
            return self._predict(query, body)
        if path == "/v1/evaluation":
            return Reply(200, self.evaluation) if self.evaluation else Reply(404, NO_EVALUATION)
        return Reply(200, {"models": self.models} if path == "/v1/models" else {"status": "ready"})

    def _predict(self, query: dict[str, str], body: bytes) -> Reply:
        with self._counting:
            self._under_way += 1
            self.most_at_once = max(self.most_at_once, self._under_way)
        self.unheld.wait(20)
        with self._counting:
            self._under_way -= 1
        return Reply(200, self._answers(query, body))

    def _answers(self, query: dict[str, str], body: bytes) -> dict[str, Any]:
        parts = re.findall(rb'; filename="(.*?)"\r\n.*?\r\n\r\n(.{8})', body, re.DOTALL)
        labels = self.said.get(query["precision"], LABELS)
        results = [_result(name.decode(), head, labels[: int(query["top_k"])]) for name, head in parts]
        return {"model": query["model"], "precision": query["precision"], "results": results}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address = urlsplit(self.path)
                query = {key: values[0] for key, values in parse_qs(address.query).items()}
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                self._send(server.reply(address.path, query, body))

            do_POST = do_GET  # noqa: N815

            def _send(self, reply: Reply) -> None:
                body = reply.body.encode() if isinstance(reply.body, str) else json.dumps(reply.body).encode()
                self.send_response(reply.status)
                for name, value in {**reply.headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        return Handler


def _result(name: str, head: bytes, labels: list[str]) -> dict[str, Any]:
    if not head.startswith((b"\xff\xd8", b"\x89PNG")):
        return {"name": name, "status": "error", "error": {"code": "corrupt", "message": "The picture is damaged."}}
    rows = [
        {"label": label, "index": LABELS.index(label) + 1, "probability": 0.5**rank}
        for rank, label in enumerate(labels, 1)
    ]
    return {"name": name, "status": "ok", "predictions": rows}
