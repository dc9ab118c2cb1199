"""POST /v1/predict: one to nine pictures in, one row a picture out, whatever became of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from backend.api.errors import not_ready
from backend.api.schemas import ErrorBody, ErrorDetail, ImageError, ImageOk, PredictionRow, PredictResponse
from backend.api.uploads import FIELD, Upload, uploads
from backend.metrics import Metrics
from backend.predictor import Predictor
from contract.transform import BadImage
from inference.artefacts import Variant
from inference.classifier import WrongAnswer
from inference.scheduler import Priority


class _Lean(APIRoute):
    """Calls the endpoint without FastAPI's resolving of parameters and answers, which costs more than the endpoint.

    The declaration below remains what the documentation is made of, and `_Asked` what parameters are held to.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request."""

        async def handle(request: Request) -> Response:
            asked = _asked(request) if request.scope["query_string"] else _NOTHING_ASKED
            answer: PredictResponse = await self.endpoint(request, asked.model, asked.precision, asked.top_k)
            return Response(answer.__pydantic_serializer__.to_json(answer), media_type="application/json")

        return handle


class _Asked(BaseModel):
    """The query's parameters."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())
    model: str | None = None
    precision: str | None = None
    top_k: Annotated[int, Field(ge=1, le=1000)] = 5


_NOTHING_ASKED = _Asked()


def _asked(request: Request) -> _Asked:
    try:
        return _Asked.model_validate(dict(request.query_params))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error


router = APIRouter(prefix="/v1", tags=["predict"], route_class=_Lean)
_PLACE_SECONDS = 1.0
"""How long a request holds a place for pictures that are on their way: else slow senders would shut others out."""

_MULTIPART = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": [FIELD],
                    "properties": {
                        FIELD: {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
                    },
                }
            }
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (404, 409, 413, 415, 422, 429, 503)
}

T = TypeVar("T")


@router.post("/predict", openapi_extra=_MULTIPART, responses=_ERRORS)
async def predict(
    request: Request,
    model: Annotated[str | None, Query(description="without it: the default")] = None,
    precision: Annotated[str | None, Query(description="without it: the model's default")] = None,
    top_k: Annotated[int, Query(ge=1, le=1000, description="how many predictions an image")] = 5,
) -> PredictResponse:
    """What is on each picture: 200 with a row each, in the order they were sent, even if every one of them is bad."""
    predictor: Predictor = request.app.state.predictor
    if not predictor.ready:
        raise not_ready(predictor.why_not_ready)
    variant = predictor.resolve(model, precision)
    with predictor.receiving(), predictor.scheduler.reserve(1, Priority.INTERACTIVE) as places:
        slow = asyncio.get_running_loop().call_later(_PLACE_SECONDS, places.resize, 0)
        try:
            async with uploads(request, request.app.state.settings.max_images) as files:
                slow.cancel()
                places.resize(len(files))
                rows = [_row(request, variant, file, top_k) for file in files]
                results = await _unless_gone(request, asyncio.gather(*rows))
        finally:
            slow.cancel()
    return PredictResponse(model=variant.model, precision=variant.precision, results=results)


async def _row(request: Request, variant: Variant, upload: Upload, k: int) -> ImageOk | ImageError:
    predictor: Predictor = request.app.state.predictor
    metrics: Metrics = request.app.state.metrics
    try:
        predictions = await predictor.predict(variant, upload.read, k)
    except BadImage as bad:
        metrics.images.labels(bad.code).inc()
        return ImageError(name=upload.name, error=ErrorDetail(code=bad.code, message=bad.message))
    except WrongAnswer as wrong:
        metrics.images.labels("no_answer").inc()
        return ImageError(name=upload.name, error=ErrorDetail(code="no_answer", message=str(wrong)))
    metrics.images.labels("ok").inc()
    rows = [PredictionRow(label=p.label, index=p.index, probability=p.probability) for p in predictions]
    return ImageOk(name=upload.name, predictions=rows)


async def _unless_gone(request: Request, work: Awaitable[T]) -> T:
    """The result of `work`, which is given up as soon as the client goes away."""
    task, gone = asyncio.ensure_future(work), asyncio.create_task(_wait_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        gone.cancel()
        task.cancel()


async def _wait_until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
