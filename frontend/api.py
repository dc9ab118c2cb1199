"""The one door to the server: requests out, typed results or errors in words back.

ApiError (message: a sentence for the person at the page)
├── Unreachable   no connection, or no answer in time
├── Busy          429 or 503; `code`, `retry_after` in seconds
└── Refused       any other answer that is no success; `code`, `status`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

import httpx

__all__ = [
    "Absent", "Agreement", "Answer", "Api", "ApiError", "Busy", "Model", "Prediction", "Problem", "Refused", "Status",
    "Transform", "Unreachable", "Variant", "VariantName", "read",
]  # fmt: skip

LOOK_TIMEOUT = httpx.Timeout(2.0)
PREDICT_TIMEOUT = httpx.Timeout(60.0, connect=2.0)
DEFAULT_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 30.0
_T = TypeVar("_T")


class ApiError(Exception):
    """Why there is no answer, in words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class Unreachable(ApiError):
    """The server did not answer at all."""


class Busy(ApiError):
    """The server asks for patience."""

    def __init__(self, message: str, retry_after: float, code: str = "") -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.code = code


class Refused(ApiError):
    """The server refused the request as a whole."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Prediction:
    """A class and its probability (0..1)."""

    label: str
    index: int
    probability: float


@dataclass(frozen=True)
class Problem:
    """Why one picture has no predictions."""

    code: str
    message: str


@dataclass(frozen=True)
class Answer:
    """What came back for one picture: predictions, most probable first, or a problem."""

    name: str
    predictions: tuple[Prediction, ...] = ()
    problem: Problem | None = None


@dataclass(frozen=True)
class VariantName:
    """What a request is asked of: model × precision."""

    model: str
    precision: str


@dataclass(frozen=True)
class Agreement:
    """How often (0..1) a variant's top-1 is that of `reference`, on so many images."""

    reference: str
    images: int
    top1: float


@dataclass(frozen=True)
class Variant:
    """A precision in which a model is there."""

    precision: str
    default: bool
    size_bytes: int = 0
    agreement: Agreement | None = None


@dataclass(frozen=True)
class Transform:
    """How pixels are made: the shorter side becomes `resize`, and the centre, `crop` × `crop`, is taken."""

    resize: int
    crop: int
    interpolation: str


@dataclass(frozen=True)
class Absent:
    """A precision that could be added, and the command that does it."""

    precision: str
    command: str


@dataclass(frozen=True)
class Model:
    """A model of the server's catalogue. `reason`: why it is missing, or why it is the default; `why_not_int8`: why the
    default answers in another precision, or nothing."""

    name: str
    title: str
    default: bool
    ready: bool
    reason: str
    variants: tuple[Variant, ...]
    why_not_int8: str = ""
    transform: Transform | None = None
    absent: tuple[Absent, ...] = ()


@dataclass(frozen=True)
class Status:
    """How the server is, at the last look. `locked`: it does not take this page's key, or wants one."""

    state: Literal["ready", "starting", "locked", "away"] = "away"
    models: tuple[Model, ...] = ()


class Api:
    """A client for one server. Safe to share between visits. `key`: what a server wants that asks for keys."""

    def __init__(self, base_url: str, key: str = "") -> None:
        self.has_key = bool(key)
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # No proxy from the environment: the server is a neighbour, often on loopback.
        self._http = httpx.Client(base_url=base_url, headers=headers, trust_env=False)

    def look(self) -> Status:
        """Never raises: a server that cannot be asked is away."""
        try:
            self.send("GET", "/readyz", timeout=LOOK_TIMEOUT)
            return Status("ready", self.models())
        except Busy:
            return Status("starting")
        except Refused as refused:
            return Status("locked" if refused.status == 401 else "away")
        except ApiError:
            return Status("away")

    def models(self) -> tuple[Model, ...]:
        """All models, ready or missing."""
        body = self.send("GET", "/v1/models", timeout=LOOK_TIMEOUT)
        return read(lambda: tuple(_model(entry) for entry in body["models"]))

    def predict(self, variant: VariantName, files: Sequence[tuple[str, bytes]], top_k: int) -> list[Answer]:
        """One answer for each (name, bytes), in their order; a bad picture is an answer too. Raises ApiError."""
        body = self.send(
            "POST",
            "/v1/predict",
            params={"model": variant.model, "precision": variant.precision, "top_k": top_k},
            files=[("images", (name, data, "application/octet-stream")) for name, data in files],
            timeout=PREDICT_TIMEOUT,
        )
        answers = read(lambda: [_answer(row) for row in body["results"]])
        if len(answers) != len(files):
            raise _unreadable()
        return answers

    def send(self, method: str, path: str, **request: Any) -> Any:
        """One request; gives the JSON of its answer, None where it has no content. Raises ApiError."""
        try:
            response = self._http.request(method, path, **request)
        except httpx.HTTPError as error:
            raise _unreachable() from error
        if not response.is_success:
            raise _error(response)
        return read(response.json) if response.content else None

    @contextmanager
    def stream(self, path: str, **request: Any) -> Iterator[Iterator[bytes]]:
        """The answer's bytes as they come, so that a large one is never held as a whole. Raises ApiError."""
        try:
            with self._http.stream("GET", path, **request) as response:
                if not response.is_success:
                    response.read()
                    raise _error(response)
                yield response.iter_bytes()
        except httpx.HTTPError as error:
            raise _unreachable() from error


def read(parse: Callable[[], _T]) -> _T:
    """What `parse` makes of an answer; raises Refused where it is not what this page understands."""
    try:
        return parse()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _unreadable() from error


def _unreachable() -> Unreachable:
    return Unreachable("The server does not answer.")


def _error(response: httpx.Response) -> ApiError:
    try:
        code, message = (str(response.json()["error"][key]) for key in ("code", "message"))
    except (ValueError, KeyError, TypeError):
        code, message = f"http_{response.status_code}", f"The server answered with status {response.status_code}."
    if response.status_code in (429, 503):
        return Busy(message, _retry_after(response.headers), code)
    return Refused(response.status_code, code, message)


def _retry_after(headers: Mapping[str, str]) -> float:
    try:
        return min(max(float(headers["retry-after"]), 0.0), LONGEST_RETRY_SECONDS)
    except (KeyError, ValueError):
        return DEFAULT_RETRY_SECONDS


def _unreadable() -> Refused:
    words = "The server's answer could not be read. Page and server may be of different versions."
    return Refused(200, "unreadable_answer", words)


def _answer(row: Mapping[str, Any]) -> Answer:
    if row["status"] != "ok":
        return Answer(row["name"], problem=Problem(row["error"]["code"], row["error"]["message"]))
    predictions = (Prediction(str(p["label"]), int(p["index"]), float(p["probability"])) for p in row["predictions"])
    return Answer(row["name"], tuple(predictions))


def _model(entry: Mapping[str, Any]) -> Model:
    return Model(
        name=entry["name"],
        title=entry.get("title") or entry["name"],
        default=bool(entry["default"]),
        ready=entry["status"] == "ready",
        reason=entry.get("reason") or "",
        variants=tuple(_variant(each) for each in entry["variants"]),
        why_not_int8=entry.get("why_not_int8") or "",
        transform=_of(Transform, entry.get("transform")),
        absent=tuple(Absent(each["precision"], each["command"]) for each in entry.get("absent", ())),
    )


def _variant(entry: Mapping[str, Any]) -> Variant:
    agreement = _of(Agreement, entry.get("agreement"))
    return Variant(entry["precision"], bool(entry.get("default")), int(entry.get("size_bytes", 0)), agreement)


def _of(kind: Callable[..., _T], entry: Mapping[str, Any] | None) -> _T | None:
    """A dataclass from those keys of the entry that are its fields."""
    return kind(**{each.name: entry[each.name] for each in fields(kind)}) if entry else None  # type: ignore[arg-type]
