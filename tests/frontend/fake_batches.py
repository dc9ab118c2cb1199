"""The batches of a fake server: in memory, moved from state to state by the tests."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

NOW = datetime(2026, 11, 20, 14, 5, tzinfo=UTC)
RESULTS_KEPT = timedelta(days=31)
CLASSES = [
    "Egyptian cat", "espresso", "macaw", "viaduct", "German shepherd", "ice bear", "Madagascar cat", "koala", "bison",
]  # fmt: skip
"""In the order of the page's samples, which the fake hands out as pixels."""


# Of all shelves: a page may remember what it saw of an id.
_NUMBERS = itertools.count(1)


class Refusal(Exception):
    """An answer of the fake that is an error."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass
class FakeBatch:
    """One batch; a test sets what it wants seen. `blobs`: parts that arrived; `zip`: the bytes once complete."""

    id: str
    name: str
    size_bytes: int
    part_size: int
    state: str = "created"
    created: datetime = NOW
    error: dict[str, str] | None = None
    restartable: bool = False
    entries: int | None = None
    images: int | None = None
    errors: int | None = None
    skipped: int | None = None
    progress: dict[str, Any] | None = None
    run: dict[str, str] | None = None
    predictions: list[dict[str, Any]] = field(default_factory=list)
    rows: list[dict[str, Any]] = field(default_factory=list)
    blobs: dict[int, bytes] = field(default_factory=dict)
    zip: bytes = b""
    transforms: set[str] = field(default_factory=lambda: {"small"})
    """The models whose shards are there."""

    @property
    def parts(self) -> int:
        return -(-self.size_bytes // self.part_size)

    def as_json(self) -> dict[str, Any]:
        """As the API shows it."""
        results = (self.created + RESULTS_KEPT).isoformat() if self.predictions else None
        known = ("id", "size_bytes", "state", "error", "restartable", "entries", "images", "errors", "skipped")
        return {key: getattr(self, key) for key in known} | {
            "filename": self.name,
            "created": self.created.isoformat().replace("+00:00", "Z"),
            "expires": {"upload": (self.created + timedelta(days=7)).isoformat(), "results": results},
            "progress": self.progress,
            "run": self.run,
            "predictions": self.predictions,
        }

    def preprocessing(self, done: int = 0, detail: str = "", seconds_left: float | None = None) -> None:
        """Moves it there."""
        self.state, self.error, self.restartable = "preprocessing", None, False
        self.progress = _progress("preprocessing", detail, done, self.entries or 1000, seconds_left)
        self.run = {"id": "jr_1", "state": "RUNNING"}

    def ready(self) -> None:
        """As the last shard is written: the counts come from the rows."""
        self.state, self.progress, self.error, self.restartable = "ready", None, None, False
        kinds = [row["status"] for row in self.rows]
        self.entries = len(kinds)
        self.images, self.errors, self.skipped = (kinds.count(kind) for kind in ("ok", "error", "skipped"))

    def failed(self, code: str, message: str, *, restartable: bool) -> None:
        """Ends it."""
        self.state, self.progress = "failed", None
        self.error, self.restartable = {"code": code, "message": message}, restartable

    def predicting(self, model: str, precision: str, done: int = 0, seconds_left: float | None = None) -> None:
        """One more variant under way."""
        total = len(self.rows)
        self.state = "predicting"
        self.progress = _progress("predicting", "", done, total, seconds_left)
        self._variant(model, precision, "predicting", done, None)

    def done(self, model: str = "small", precision: str = "fp32") -> None:
        """One variant more to look at."""
        self.ready()
        self.state = "done"
        counts = {
            "predictions": self.images,
            "errors": self.errors,
            "skipped": self.skipped,
            "entries": self.entries,
        }
        self._variant(model, precision, "done", len(self.rows), counts)

    def _variant(self, model: str, precision: str, state: str, done: int, counts: dict[str, Any] | None) -> None:
        others = [p for p in self.predictions if (p["model"], p["precision"]) != (model, precision)]
        about = {"model": model, "precision": precision, "state": state, "done": done, "total": len(self.rows)}
        self.predictions = [*others, about | {"error": None, "counts": counts}]


@dataclass
class Shelf:
    """All batches, and what the server does with them. `limit`: the largest zip; `part_size`: both in bytes."""

    part_size: int = 1 << 22
    limit: int = 500_000_000
    notice: dict[str, Any] = field(default_factory=lambda: {"message": "", "disposable": False})
    batches: dict[str, FakeBatch] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    after_predict: Callable[[FakeBatch, str, str], None] = lambda batch, model, precision: batch.predicting(
        model, precision
    )
    _count: int = 0

    def add(self, name: str, size_bytes: int = 40_000_000, batch_id: str | None = None, **known: Any) -> FakeBatch:
        """A batch that is already there."""
        self._count += 1
        number = batch_id or f"01TEST{next(_NUMBERS):04d}"
        created = NOW - timedelta(minutes=60) + timedelta(minutes=self._count)
        self.batches[number] = FakeBatch(number, name, size_bytes, self.part_size, created=created, **known)
        return self.batches[number]

    def get(self, batch_id: str) -> FakeBatch:
        if batch_id not in self.batches:
            raise Refusal(404, "unknown_batch", "There is no such batch.")
        return self.batches[batch_id]

    def listing(self) -> dict[str, Any]:
        """GET /v1/batches."""
        newest = sorted(self.batches.values(), key=lambda batch: batch.created, reverse=True)
        limits = {"zip_bytes": self.limit, "entries": 100_000}
        return {"batches": [batch.as_json() for batch in newest], "notice": self.notice, "limits": limits}

    def create(self, filename: str, size_bytes: int) -> dict[str, Any]:
        """POST /v1/batches."""
        if size_bytes > self.limit:
            raise Refusal(413, "zip_too_large", "The zip is too large.")
        batch = self.add(filename, size_bytes)
        return {"id": batch.id, "upload": {"part_size": batch.part_size, "parts": batch.parts}}

    def arrived(self, batch: FakeBatch) -> dict[str, Any]:
        """GET /v1/batches/{id}/upload."""
        if batch.zip:
            raise Refusal(409, "wrong_state", "The upload is complete.")
        arrived = [{"part": part, "size_bytes": len(blob)} for part, blob in sorted(batch.blobs.items())]
        about = {"filename": batch.name, "size_bytes": batch.size_bytes}
        return about | {"part_size": batch.part_size, "parts": batch.parts, "arrived": arrived}

    def complete(self, batch: FakeBatch) -> dict[str, Any]:
        """POST …/upload/complete."""
        missing = batch.parts - len(batch.blobs)
        if missing:
            raise Refusal(409, "parts_missing", f"{missing} of {batch.parts} parts are missing.")
        batch.zip = b"".join(batch.blobs[part] for part in sorted(batch.blobs))
        batch.state = "uploaded"
        return batch.as_json()

    def preprocess(self, batch: FakeBatch, model: str | None) -> dict[str, Any]:
        """POST …/preprocess."""
        batch.transforms.add(model or "small")
        batch.preprocessing(detail="the job is starting")
        return batch.as_json()

    def predict(self, batch: FakeBatch, model: str, precision: str) -> dict[str, Any]:
        """POST …/predict."""
        if batch.state not in ("ready", "done"):
            raise Refusal(409, "wrong_state", f"The batch is {batch.state}.")
        if model not in batch.transforms:
            raise Refusal(
                409, "needs_preprocessing", f"{model} looks at other pixels: preprocess the zip for it first."
            )
        self.after_predict(batch, model, precision)
        return batch.as_json()

    def delete(self, batch: FakeBatch) -> None:
        """DELETE …"""
        del self.batches[batch.id]
        self.deleted.append(batch.id)


def sample_rows(count: int, names: list[str] | None = None) -> list[dict[str, Any]]:
    """Result rows: classes in turn, some frequent; every 20th an error, every 25th skipped."""
    rows = [_row(entry) for entry in range(count)]
    for row, name in zip(rows, names or [], strict=False):
        row["name"] = name
    return rows


def jsonl(rows: list[dict[str, Any]]) -> Iterator[str]:
    """A line for each row."""
    return (json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> str:
    """The API's table, with its apostrophe before what a spreadsheet would run."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    ranks = [f"{column}{rank}" for rank in range(1, 6) for column in ("label", "index", "probability")]
    writer.writerow(["entry", "name", "status", *ranks, "code", "message"])
    for row in rows:
        cells = [p[key] for p in row.get("predictions", []) for key in ("label", "index", "probability")]
        error = row.get("error", {"code": row.get("reason", ""), "message": ""})
        name = f"'{row['name']}" if row["name"].lstrip(" ").startswith(("=", "+", "-", "@")) else row["name"]
        padded = cells + [""] * (15 - len(cells))
        writer.writerow([row["entry"], name, row["status"], *padded, error["code"], error["message"]])
    return out.getvalue()


def _progress(stage: str, detail: str, done: int, total: int, seconds_left: float | None) -> dict[str, Any]:
    return {"stage": stage, "detail": detail, "done": done, "total": total, "seconds_left": seconds_left}


def _row(entry: int) -> dict[str, Any]:
    row = {"entry": entry, "name": f"holiday/img_{entry:05d}.jpg"}
    if entry % 25 == 24:
        return {"entry": entry, "name": f"holiday/{entry}/", "status": "skipped", "reason": "folder"}
    if entry % 20 == 19:
        error = {"code": "corrupt", "message": "The picture breaks off in the middle."}
        return row | {"status": "error", "error": error}
    best = entry % len(CLASSES) if entry % 3 else 0
    first = 0.35 + (entry * 37 % 64) / 100
    rest = [(1 - first) * share for share in (0.5, 0.25, 0.12, 0.06)]
    labels = [CLASSES[(best + step) % len(CLASSES)] for step in range(5)]
    predictions = [
        {"label": label, "index": CLASSES.index(label), "probability": round(share, 6)}
        for label, share in zip(labels, [first, *rest], strict=True)
    ]
    return row | {"status": "ok", "predictions": predictions}
