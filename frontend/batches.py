"""The calls about batches, typed: what has become of each zip, and the four things a person may ask of one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from frontend.api import Api, Problem, VariantName, read
from frontend.tokens import Tokens

__all__ = ["Batch", "Batches", "Counts", "Expiry", "Limits", "Listing", "Notice", "PredictionRun", "Progress"]

LOOK_TIMEOUT = httpx.Timeout(4.0, connect=2.0)
# To start a job run, and to stop one before its batch is removed, the server itself has to ask others.
ACT_TIMEOUT = httpx.Timeout(30.0, connect=2.0)
ROWS_TIMEOUT = httpx.Timeout(60.0, connect=2.0)


@dataclass(frozen=True)
class Progress:
    """How far a stage is, in entries. `seconds_left` is None while nobody can tell."""

    stage: str
    detail: str
    done: int
    total: int
    seconds_left: float | None


@dataclass(frozen=True)
class Counts:
    """predictions + errors + skipped = entries."""

    predictions: int
    errors: int
    skipped: int
    entries: int


@dataclass(frozen=True)
class PredictionRun:
    """One variant's predictions for a batch. `state`: predicting, done or failed."""

    variant: VariantName
    state: str
    done: int
    total: int
    problem: Problem | None
    counts: Counts | None


@dataclass(frozen=True)
class Expiry:
    """Until when the zip and the results are kept; None: not known, or not limited."""

    upload: datetime | None
    results: datetime | None


@dataclass(frozen=True)
class Batch:
    """A zip and what has become of it. Counts are None until they are known."""

    id: str
    name: str
    size_bytes: int
    state: str
    created: datetime
    expires: Expiry
    problem: Problem | None
    restartable: bool
    entries: int | None
    images: int | None
    errors: int | None
    skipped: int | None
    progress: Progress | None
    run: str
    predictions: tuple[PredictionRun, ...]

    @property
    def finished(self) -> tuple[PredictionRun, ...]:
        """The predictions that can be looked at."""
        return tuple(run for run in self.predictions if run.state == "done")

    @property
    def moving(self) -> bool:
        """Whether its state may change without anybody asking for it."""
        stages = self.state in ("uploaded", "preprocessing", "predicting")
        return stages or any(run.state == "predicting" for run in self.predictions)

    @property
    def predictable(self) -> bool:
        """Whether its shards are there and nothing runs: ready, done, or a prediction that failed."""
        return self.state in ("ready", "done") or (self.state == "failed" and bool(self.predictions))


@dataclass(frozen=True)
class Notice:
    """What the operator wants everybody to read. `disposable`: data lives only as long as the application runs."""

    message: str = ""
    disposable: bool = False


@dataclass(frozen=True)
class Limits:
    """What a zip may have: bytes, and entries of its directory."""

    zip_bytes: int = 500_000_000
    entries: int = 100_000


@dataclass(frozen=True)
class Listing:
    """All batches, newest first, and what holds for all of them."""

    batches: tuple[Batch, ...] = ()
    notice: Notice = Notice()
    limits: Limits = Limits()


class Batches:
    """The batches of one server. Every method raises ApiError. `public_url`: the server as the browser sees it."""

    def __init__(self, api: Api, public_url: str) -> None:
        self._api = api
        self._public_url = public_url
        self.tokens = Tokens(api)

    def all(self) -> Listing:
        """Everything the page lists."""
        body = self._api.send("GET", "/v1/batches", timeout=LOOK_TIMEOUT)
        return read(lambda: _listing(body))

    def preprocess(self, batch: str, model: str | None) -> Batch:
        """Starts a job run, again or for another model's transform."""
        body = self._api.send("POST", f"{_path(batch)}/preprocess", json=_asked(model=model), timeout=ACT_TIMEOUT)
        return read(lambda: _batch(body))

    def predict(self, batch: str, variant: VariantName) -> Batch:
        """Starts the predictions of a variant. Refused with code `needs_preprocessing`: other shards are needed."""
        asked = _asked(model=variant.model, precision=variant.precision)
        body = self._api.send("POST", f"{_path(batch)}/predict", json=asked, timeout=ACT_TIMEOUT)
        return read(lambda: _batch(body))

    def delete(self, batch: str) -> None:
        """Removes a batch and all that became of it; a run is stopped first."""
        self._api.send("DELETE", _path(batch), timeout=ACT_TIMEOUT)

    def rows(self, batch: str, variant: VariantName) -> AbstractContextManager[Iterator[bytes]]:
        """The results as CSV, in pieces."""
        return self._api.stream(_results(batch, variant, "csv"), timeout=ROWS_TIMEOUT)

    def download(self, batch: str, variant: VariantName, form: str) -> str:
        """Where the browser gets the results as json, jsonl or csv, past this process."""
        token = self.tokens.results(batch).words
        return self._public_url + _results(batch, variant, form) + (f"&{urlencode({'token': token})}" if token else "")

    def pixels(self, batch: str) -> Callable[[int], str]:
        """Where the browser gets what the network saw of an entry."""
        token = self.tokens.results(batch).words
        base, query = f"{self._public_url}{_path(batch)}/pixels/", f"?{urlencode({'token': token})}" if token else ""
        return lambda entry: f"{base}{entry}{query}"


def _path(batch: str) -> str:
    return f"/v1/batches/{quote(batch, safe='')}"


def _results(batch: str, variant: VariantName, form: str) -> str:
    query = urlencode({"format": form, "model": variant.model, "precision": variant.precision})
    return f"{_path(batch)}/results?{query}"


def _asked(**wanted: str | None) -> dict[str, str]:
    return {key: value for key, value in wanted.items() if value}


def _listing(body: Mapping[str, Any]) -> Listing:
    notice, limits = body.get("notice") or {}, body.get("limits") or {}
    return Listing(
        tuple(_batch(entry) for entry in body["batches"]),
        Notice(str(notice.get("message") or ""), bool(notice.get("disposable"))),
        Limits(
            int(limits.get("zip_bytes", Limits.zip_bytes)),
            int(limits.get("entries", Limits.entries)),
        ),
    )


def _batch(body: Mapping[str, Any]) -> Batch:
    return Batch(
        id=str(body["id"]),
        name=str(body["filename"]),
        size_bytes=int(body["size_bytes"]),
        state=str(body["state"]),
        created=datetime.fromisoformat(body["created"]),
        expires=Expiry(*(_moment(body["expires"].get(key)) for key in ("upload", "results"))),
        problem=_problem(body["error"]),
        restartable=bool(body["restartable"]),
        entries=body["entries"],
        images=body["images"],
        errors=body["errors"],
        skipped=body["skipped"],
        progress=_progress(body["progress"]),
        run=str((body.get("run") or {}).get("state") or ""),
        predictions=tuple(_prediction_run(run) for run in body["predictions"]),
    )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _problem(body: Mapping[str, Any] | None) -> Problem | None:
    return Problem(str(body["code"]), str(body["message"])) if body else None


def _progress(body: Mapping[str, Any] | None) -> Progress | None:
    if not body:
        return None
    left = body.get("seconds_left")
    seconds = None if left is None else float(left)
    return Progress(body["stage"], body.get("detail") or "", int(body["done"]), int(body["total"]), seconds)


def _prediction_run(body: Mapping[str, Any]) -> PredictionRun:
    counts = body.get("counts")
    return PredictionRun(
        variant=VariantName(str(body["model"]), str(body["precision"])),
        state=str(body["state"]),
        done=int(body["done"]),
        total=int(body["total"]),
        problem=_problem(body.get("error")),
        counts=Counts(**{key: int(counts[key]) for key in Counts.__dataclass_fields__}) if counts else None,
    )
