"""Where the command line's answers come from: a server over HTTP, or a classifier in this process; in one shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from cli.server import CannotAnswer, client_for, message_of, no_server, sendable
from contract.transform import BadImage, ImageLimits, to_pixels
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact
from inference.card import BadCard
from inference.choice import ModelMissing, ModelUnknown, choose, resolve
from inference.classifier import WrongAnswer, top_k

IMAGES_A_REQUEST = 9
ATTEMPTS = 5
LONGEST_RETRY_SECONDS = 30.0


class Results(TypedDict):
    """The API's answer to POST /v1/predict."""

    model: str
    precision: str
    results: list[dict[str, Any]]


class _Busy(CannotAnswer):
    def __init__(self, message: str, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def ask_server(
    url: str, images: list[Path], model: str | None, precision: str | None, k: int, key: str | None = None
) -> Results:
    """Sends the pictures, nine a request. Raises CannotAnswer where the first of them has no answer.

    Once a later one has none, no more is asked: its pictures and all that follow are error rows, which say why.
    """
    params = {"model": model, "precision": precision, "top_k": k}
    wanted = {key: value for key, value in params.items() if value is not None}
    answer: Results = {"model": "", "precision": "", "results": []}
    with client_for(url, httpx.Client, key) as client:
        for group in _groups(images):
            try:
                answer["results"] += _rows(client, group, wanted, answer)
            except CannotAnswer as error:
                if not answer["model"]:
                    raise
                left = images[len(answer["results"]) :]
                answer["results"] += [_error_row(path, "unanswered", _sentence(error)) for path in left]
                break
    return answer


def _sentence(error: Exception) -> str:
    said = str(error).rstrip(".")
    return f"{said[:1].upper()}{said[1:]}."


def _rows(client: httpx.Client, group: list[Path], params: dict[str, Any], answer: Results) -> list[dict[str, Any]]:
    unreadable = [_unreadable(path) for path in group]
    readable = [path for path, row in zip(group, unreadable, strict=True) if row is None]
    sent = iter(_post(client, readable, params, answer))
    return [row or next(sent) for row in unreadable]


def _groups(images: list[Path]) -> Iterator[list[Path]]:
    for start in range(0, len(images), IMAGES_A_REQUEST):
        yield images[start : start + IMAGES_A_REQUEST]


def _post(client: httpx.Client, paths: list[Path], params: dict[str, Any], answer: Results) -> list[dict[str, Any]]:
    if not paths:
        return []
    retrying = Retrying(
        retry=retry_if_exception_type(_Busy), wait=_as_the_server_says, stop=stop_after_attempt(ATTEMPTS), reraise=True
    )
    body = retrying(_post_once, client, paths, params)
    if len(body["results"]) != len(paths):
        raise CannotAnswer(f"{client.base_url} answered, and not as a Ninefold server does")
    answer["model"], answer["precision"] = body["model"], body["precision"]
    return body["results"]


def _as_the_server_says(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.retry_after if isinstance(error, _Busy) else 0


def _post_once(client: httpx.Client, paths: list[Path], params: dict[str, Any]) -> Results:
    with ExitStack() as stack:
        try:
            files = [("images", (sendable(path.name), stack.enter_context(path.open("rb")))) for path in paths]
            response = client.post("/v1/predict", files=files, params=params)
        except (httpx.TransportError, httpx.UnsupportedProtocol, httpx.InvalidURL) as error:
            raise no_server(client.base_url, error) from error
        except OSError as error:  # of a file that could be opened a moment ago
            raise CannotAnswer(f"a picture cannot be read: {error.strerror or error}") from error
    if response.is_success:
        return _results(response)
    message = message_of(response)
    if response.status_code in (429, 503):
        raise _Busy(message, _seconds(response.headers.get("retry-after", "")))
    raise CannotAnswer(message)


def _seconds(retry_after: str) -> float:
    """Within reason: a proxy may say nothing, a date, or tomorrow."""
    try:
        return min(max(0.0, float(retry_after)), LONGEST_RETRY_SECONDS)
    except ValueError:
        return 1.0


def _results(response: httpx.Response) -> Results:
    try:
        body = response.json()
        return {key: body[key] for key in ("model", "precision", "results")}  # type: ignore[return-value]
    except (ValueError, KeyError, TypeError) as error:
        raise CannotAnswer(f"{response.url} answered, and not as a Ninefold server does") from error


def _unreadable(path: Path) -> dict[str, Any] | None:
    """The error row of a file that cannot be read, or None."""
    try:
        with path.open("rb"):
            return None
    except OSError as error:
        return _cannot_be_read(path, error)


def _cannot_be_read(path: Path, error: OSError) -> dict[str, Any]:
    return _error_row(path, "unreadable", f"The file cannot be read: {error.strerror or error}.")


def _error_row(path: Path, code: str, message: str) -> dict[str, Any]:
    return {"name": sendable(path.name), "status": "error", "error": {"code": code, "message": message}}


def predict_here(
    models_dir: Path, images: list[Path], model: str | None, precision: str | None, k: int, device: str = "CPU"
) -> Results:
    """Classifies the pictures in this process, with the models in `models_dir`. Raises CannotAnswer."""
    from inference import engines  # noqa: PLC0415  # half a second that --help need not wait

    if why := engines.why_not(device):
        raise CannotAnswer(why)
    artefact = artefact_for(ArtefactStore(models_dir), model, precision, device)
    try:
        classifier = engines.load(artefact, device=device)
    except (DamagedArtefact, ModelMissing) as error:
        raise CannotAnswer(str(error)) from error
    results = [_row(path, artefact, classifier, k) for path in images]
    return {"model": artefact.card.model, "precision": artefact.card.precision, "results": results}


def artefact_for(store: ArtefactStore, model: str | None, precision: str | None, device: str) -> Artefact:
    """The variant that was asked for, or the default. Raises CannotAnswer."""
    try:
        variant = resolve(store, model, precision, device) if model else choose(store, None, precision, device).variant
        artefact = store.get(variant)
    except (ModelMissing, ModelUnknown, BadCard) as error:
        raise CannotAnswer(str(error)) from error
    if artefact is None:
        raise CannotAnswer(f"{variant} has disappeared from {store.root}")
    return artefact


def _row(path: Path, artefact: Artefact, classifier: Any, k: int) -> dict[str, Any]:
    if (row := _unreadable(path)) is not None:
        return row
    try:
        if path.stat().st_size > ImageLimits().max_bytes:  # known without reading it
            return _error_row(path, "too_many_bytes", "The file is larger than 25 MB, the most there may be.")
        pixels = to_pixels(path.read_bytes(), artefact.card.transform)
        predictions = [asdict(row) for row in top_k(classifier(pixels[None])[0], artefact.card.labels, k)]
    except BadImage as bad:
        return _error_row(path, bad.code, bad.message)
    except WrongAnswer as wrong:
        return _error_row(path, "no_answer", str(wrong))
    except OSError as error:
        return _cannot_be_read(path, error)
    return {"name": sendable(path.name), "status": "ok", "predictions": predictions}
