"""The protocol's routes: what the server is, how it is, which models it has, and inference.

A model's version is its precision. Errors have the protocol's shape, {"error": message}.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel

from backend.api.bodies import BadJson, Bodies
from backend.api.errors import ApiError, not_ready
from backend.api.places import one_place, unless_gone
from backend.api.status import healthz, readyz
from backend.api.v2.request import IMAGES, LOGITS, PIXELS, Asked, Bounds, asked, malformed
from backend.api.v2.response import answer
from backend.metrics import Metrics
from backend.predictor import Predictor
from contract.transform import BadImage
from inference.artefacts import Variant
from inference.choice import ModelMissing, usable
from inference.classifier import Logits, WrongAnswer, top_k
from inference.devices import is_cuda
from inference.scheduler import DIED, Priority

EXTENSIONS = ("binary_tensor_data", "classification")
_LENGTH = "inference-header-content-length"
_LONGEST_HEAD = 65_536
_BODY = {
    "requestBody": {
        "required": True,
        "description": f"One input: {PIXELS} UINT8 [N,H,W,3], or {IMAGES} BYTES [N] (as JSON: base64).",
        "content": {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}},
    }
}


class Failed(BaseModel):
    """The protocol's shape of errors."""

    error: str


_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": Failed} for status in (400, 404, 409, 413, 415, 429, 503)}
router = APIRouter(prefix="/v2", tags=["open inference protocol"], responses=_ERRORS)
Model = Annotated[str, Path(description="a name of /v1/models")]
Version = Annotated[str, Path(description="a precision: fp32, int8, …")]


@router.get("")
async def server(request: Request) -> dict[str, Any]:
    """What answers here."""
    return {"name": "ninefold", "version": request.app.version, "extensions": list(EXTENSIONS)}


@router.get("/health/live")
async def live(request: Request) -> dict[str, bool]:
    """200 while the process can work at all."""
    await healthz(request)
    return {"live": True}


@router.get("/health/ready")
async def ready(request: Request) -> dict[str, bool]:
    """200 once the golden image got its expected answer."""
    await readyz(request)
    return {"ready": True}


@router.get("/models/{model}")
def metadata(request: Request, model: Model) -> dict[str, Any]:
    """The model's versions and its tensors, of its default version. A request has one of the two inputs."""
    return _metadata(request, model, None)


@router.get("/models/{model}/versions/{version}")
def metadata_of_version(request: Request, model: Model, version: Version) -> dict[str, Any]:
    """The same, of one version."""
    return _metadata(request, model, version)


@router.get("/models/{model}/ready")
def model_ready(request: Request, model: Model) -> dict[str, Any]:
    """200 if it can answer, at once or after it was loaded."""
    return _readiness(request, model, None)


@router.get("/models/{model}/versions/{version}/ready")
def version_ready(request: Request, model: Model, version: Version) -> dict[str, Any]:
    """The same, of one version."""
    return _readiness(request, model, version)


@router.post("/models/{model}/infer", openapi_extra=_BODY)
async def infer(request: Request, model: Model) -> Response:
    """Logits, FP32 [N,C], or the most probable classes, BYTES [N,k]: "probability:index:label"."""
    return await _infer(request, model, None)


@router.post("/models/{model}/versions/{version}/infer", openapi_extra=_BODY)
async def infer_version(request: Request, model: Model, version: Version) -> Response:
    """The same, by one version."""
    return await _infer(request, model, version)


def _metadata(request: Request, model: str, version: str | None) -> dict[str, Any]:
    predictor: Predictor = request.app.state.predictor
    card, device = predictor.artefact(predictor.resolve(model, version)).card, request.app.state.settings.device
    return {
        "name": model,
        "versions": usable(request.app.state.store, model, device),
        "platform": "pytorch_exported" if is_cuda(device) else "openvino_ir",
        "inputs": [
            {"name": PIXELS, "datatype": "UINT8", "shape": [-1, card.transform.crop, card.transform.crop, 3]},
            {"name": IMAGES, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [{"name": LOGITS, "datatype": "FP32", "shape": [-1, len(card.labels)]}],
    }


def _readiness(request: Request, model: str, version: str | None) -> dict[str, Any]:
    predictor = _ready(request)
    try:
        variant = predictor.resolve(model, version)
        predictor.artefact(variant)  # a card that cannot be read is no version that is ready
    except ModelMissing as missing:
        raise ApiError(503, "model_missing", str(missing)) from missing
    return {"name": variant.model, "version": variant.precision, "ready": True}


def _ready(request: Request) -> Predictor:
    predictor: Predictor = request.app.state.predictor
    if not predictor.scheduler.alive:
        raise not_ready(DIED)
    if not predictor.ready:
        raise not_ready(predictor.why_not_ready)
    return predictor


async def _infer(request: Request, model: str, version: str | None) -> Response:
    predictor, bodies = _ready(request), request.app.state.bodies
    variant = predictor.resolve(model, version)
    artefact = predictor.artefact(variant)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise ApiError(415, "unsupported_media_type", "Send the request as it is, without a content encoding.")
    with one_place(predictor) as arrived:
        async with bodies.whole(request) as body:
            wanted = await _asked(request, bodies, body, _bounds(request, artefact.card.transform.crop))
            few = wanted.images <= request.app.state.settings.max_images
            arrived(wanted.images if few else 0)
            if few:
                logits = await _logits(request, variant, wanted, Priority.INTERACTIVE, wanted.images)
            else:
                logits = await _by_and_by(request, variant, wanted)
            return await asyncio.to_thread(answer, wanted, artefact, logits)


def _bounds(request: Request, side: int) -> Bounds:
    settings = request.app.state.settings
    return Bounds(side, max(settings.max_infer_images, settings.max_images), settings.max_images, settings.image_limits)


async def _asked(request: Request, bodies: Bodies, body: bytearray, bounds: Bounds) -> Asked:
    """The request in the body, which is empty afterwards unless tensors in binary are in it. Raises ApiError 400."""
    length = _length(request, body)
    if length == len(body):
        text, binary = body, memoryview(b"")
    else:
        text, binary = body[:length], memoryview(body)[length:]
    try:
        found = await bodies.parsed(text, bounds.parts, lambda value: asked(value, binary, bounds))
    except BadJson as error:
        raise malformed(f"The JSON cannot be read: {error}") from error
    text.clear()
    return found


def _length(request: Request, body: bytearray) -> int:
    """Of the JSON that the body is, or begins with. Raises ApiError 400."""
    told = request.headers.get(_LENGTH, str(len(body)))
    if not (told.isascii() and told.isdigit() and len(told) < 12 and int(told) <= len(body)):
        raise malformed(f"Inference-Header-Content-Length says {told:.20}, and the body has {len(body)} bytes")
    if _LONGEST_HEAD < int(told) < len(body):  # it would lie in memory twice, for an input that is behind it
        raise malformed(f"The JSON before tensors in binary may have {_LONGEST_HEAD} bytes")
    return int(told)


async def _by_and_by(request: Request, variant: Variant, wanted: Asked) -> Logits:
    """More images than people may send: after those and cameras', before zips', some at a time, which hold places."""
    settings, scheduler = request.app.state.settings, request.app.state.predictor.scheduler
    together = min(wanted.images, max(settings.max_images, settings.queue_images // 2))
    with scheduler.reserve(together, Priority.MANY):
        return await _logits(request, variant, wanted, Priority.MANY, together)


async def _logits(request: Request, variant: Variant, wanted: Asked, priority: Priority, together: int) -> Logits:
    """float32[N,C], `together` images at once. Raises ApiError 400 where an image has none."""
    gate, one = asyncio.Semaphore(together), _one(request, variant, wanted, priority)

    async def gated(position: int) -> Logits:
        async with gate:
            return await one(position)

    work = asyncio.gather(*map(gated, range(wanted.images)), return_exceptions=True)
    return np.stack(_all_good(await unless_gone(request, work)))


def _one(
    request: Request, variant: Variant, wanted: Asked, priority: Priority
) -> Callable[[int], Coroutine[Any, Any, Logits]]:
    """What gives one image's float32[C], and counts it."""
    predictor: Predictor = request.app.state.predictor
    metrics: Metrics = request.app.state.metrics

    async def one(position: int) -> Logits:
        try:
            if wanted.pixels is None:
                logits = await predictor.logits(variant, wanted.reads[position], priority)
            else:
                pixels = wanted.pixels[position : position + 1]
                logits = (await predictor.scheduler.run(variant, pixels, priority))[0]
            (best,) = top_k(logits, predictor.artefact(variant).card.labels, 1)
        except BadImage as bad:
            metrics.images.labels(bad.code).inc()
            raise
        except WrongAnswer:
            metrics.images.labels("no_answer").inc()
            raise
        metrics.images.labels("ok").inc()
        if priority is Priority.INTERACTIVE:
            metrics.answers.note(variant, best)
        else:
            metrics.answers.note_rows(variant, [(best.index, best.probability)])
        return logits

    return one


def _all_good(outcomes: list[Logits | BaseException]) -> list[Logits]:
    """The protocol has no errors of single images: one that is bad fails the request, which names it."""
    bad = {n: outcome for n, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)}
    for error in bad.values():
        if not isinstance(error, BadImage | WrongAnswer):
            raise error
    if bad:
        first = next(iter(bad))
        which = ", ".join(map(str, bad))
        message = (
            f"Of {len(outcomes)} images, counted from 0, these have no answer: {which}. Image {first}: {bad[first]}"
        )
        raise ApiError(400, "bad_image", message)
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
