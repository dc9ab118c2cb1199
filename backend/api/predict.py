"""POST /v1/predict: one to nine pictures in, one row a picture out, whatever became of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field

from backend.api.errors import not_ready
from backend.api.json_images import JSON_SCHEMA, is_json, json_images
from backend.api.places import one_place, unless_gone
from backend.api.queries import asked_by
from backend.api.schemas import ErrorBody, ErrorDetail, ImageError, ImageOk, PredictionRow, PredictResponse
from backend.api.uploads import FIELD, Picture, uploads
from backend.metrics import Metrics
from backend.predictor import Predictor
from contract.transform import BadImage
from inference.artefacts import Variant
from inference.classifier import WrongAnswer


class _Lean(APIRoute):
    """Calls the endpoint without FastAPI's resolving of parameters and answers, which costs more than the endpoint.

    The declaration below remains what the documentation is made of, and `_Asked` what parameters are held to.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler of a request."""

        async def handle(request: Request) -> Response:
            asked = asked_by(request, _Asked) if request.scope["query_string"] else _NOTHING_ASKED
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
router = APIRouter(prefix="/v1", tags=["predict"], route_class=_Lean)
_BODY = {
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
            },
            "application/json": {"schema": JSON_SCHEMA},
        },
    }
}
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (404, 409, 413, 415, 422, 429, 503)
}


@router.post("/predict", openapi_extra=_BODY, responses=_ERRORS)
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
    pictures = json_images if is_json(request) else uploads
    with one_place(predictor) as arrived:
        async with pictures(request, request.app.state.settings.max_images) as images:
            arrived(len(images))
            rows = [_row(request, variant, image, top_k) for image in images]
            results = await unless_gone(request, asyncio.gather(*rows))
    return PredictResponse(model=variant.model, precision=variant.precision, results=results)


async def _row(request: Request, variant: Variant, image: Picture, k: int) -> ImageOk | ImageError:
    predictor: Predictor = request.app.state.predictor
    metrics: Metrics = request.app.state.metrics
    try:
        predictions = await predictor.predict(variant, image.read, k)
    except BadImage as bad:
        metrics.images.labels(bad.code).inc()
        return ImageError(name=image.name, error=ErrorDetail(code=bad.code, message=bad.message))
    except WrongAnswer as wrong:
        metrics.images.labels("no_answer").inc()
        return ImageError(name=image.name, error=ErrorDetail(code="no_answer", message=str(wrong)))
    metrics.images.labels("ok").inc()
    rows = [PredictionRow(label=p.label, index=p.index, probability=p.probability) for p in predictions]
    return ImageOk(name=image.name, predictions=rows)
