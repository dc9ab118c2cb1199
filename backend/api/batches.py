"""/v1/batches: a zip of thousands, from its announcement to its results. Routes run in threads of their own."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from backend.access.tokens import Grant
from backend.api.batch_schemas import (
    ArrivedPart,
    BatchBody,
    BatchesBody,
    CreatedBatch,
    LimitsBody,
    NewBatch,
    NoticeBody,
    PartUrls,
    UploadPlan,
    UploadState,
    WantedModel,
    WantedParts,
    batch_body,
)
from backend.api.batch_threads import BatchRoute, pieces
from backend.api.errors import not_ready
from backend.api.schemas import ErrorBody
from backend.batches.errors import BatchProblem, wrong_state
from backend.batches.results import FORMATS
from backend.batches.service import Batches
from backend.batches.uploads import PRESIGNED_SECONDS
from backend.predictor import Predictor
from contract.batches import State
from contract.ziplist import ZipLimits

_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (404, 409, 413, 422, 503)}
router = APIRouter(prefix="/v1/batches", tags=["batches"], responses=_ERRORS, route_class=BatchRoute)
BatchId = Annotated[str, Path(max_length=64)]
_OFF = (
    "Batches are off: this server has no storage. Set NINEFOLD_BUCKET (and NINEFOLD_S3_ENDPOINT, unless it is AWS); "
    "`make run` does so by itself."
)


async def _batches(request: Request) -> Batches:
    found: Batches | None = request.app.state.batches
    if found is None:
        raise BatchProblem(503, "batches_off", _OFF)
    return found


Found = Annotated[Batches, Depends(_batches)]


@router.post("", status_code=201)
def create(request: Request, batches: Found, new: NewBatch) -> CreatedBatch:
    """Announces a zip. Its parts then go straight to S3."""
    grant: Grant | None = request.scope.get("grant")
    upload = batches.create(new.filename, new.size_bytes, grant.batch if grant else None)
    return CreatedBatch(id=upload.batch, upload=UploadPlan(part_size=upload.part_bytes, parts=upload.parts))


@router.get("")
def batches_all(batches: Found) -> BatchesBody:
    """Every batch, also those that another program put under uploads/."""
    listed = batches.views.all()
    notice = batches.views.notice
    return BatchesBody(
        batches=[batch_body(view) for view in listed],
        notice=NoticeBody(message=notice.message, disposable=notice.disposable),
        limits=LimitsBody(zip_bytes=batches.most_bytes, entries=ZipLimits().max_entries),
    )


@router.get("/{batch}")
def batch_one(batches: Found, batch: BatchId) -> BatchBody:
    """As it is this moment."""
    return batch_body(batches.views.one(batch))


@router.post("/{batch}/upload/urls")
def upload_urls(batches: Found, batch: BatchId, wanted: WantedParts) -> PartUrls:
    """Addresses to PUT parts to, for 15 minutes."""
    return PartUrls(urls=batches.upload(batch).urls(wanted.parts), expires_seconds=PRESIGNED_SECONDS)


@router.get("/{batch}/upload")
def upload_state(batches: Found, batch: BatchId) -> UploadState:
    """Which parts arrived, to go on after an interruption."""
    upload = batches.upload(batch)
    return UploadState(
        filename=upload.file_name,
        size_bytes=upload.size_bytes,
        part_size=upload.part_bytes,
        parts=upload.parts,
        arrived=[ArrivedPart(part=part.number, size_bytes=part.size) for part in upload.arrived()],
    )


@router.post("/{batch}/upload/complete")
def upload_complete(batches: Found, batch: BatchId) -> BatchBody:
    """Puts the parts together; preprocessing begins by itself."""
    return batch_body(batches.complete(batch))


@router.post("/{batch}/preprocess", status_code=202)
def preprocess(
    request: Request, batches: Found, batch: BatchId, wanted: Annotated[WantedModel | None, Body()] = None
) -> BatchBody:
    """Starts the preprocessing again after it failed, or for a model that sees other pixels."""
    predictor: Predictor = request.app.state.predictor
    meant = wanted or WantedModel()
    return batch_body(batches.preprocess(batch, predictor.resolve(meant.model, meant.precision)))


@router.post("/{batch}/predict", status_code=202)
def predict(
    request: Request, batches: Found, batch: BatchId, wanted: Annotated[WantedModel | None, Body()] = None
) -> BatchBody:
    """Batch predict: the server reads the prepared pixels and predicts them when nothing more urgent waits."""
    predictor: Predictor = request.app.state.predictor
    if not predictor.ready:
        raise not_ready(predictor.why_not_ready)
    meant = wanted or WantedModel()
    return batch_body(batches.predict(batch, predictor.resolve(meant.model, meant.precision)))


@router.get("/{batch}/results", response_class=Response)
def results(
    batches: Found,
    batch: BatchId,
    format: Annotated[Literal["json", "jsonl", "csv"], Query()] = "json",
    model: Annotated[str | None, Query(description="without it: the first that is done")] = None,
    precision: Annotated[str | None, Query()] = None,
) -> StreamingResponse:
    """One row an entry of the zip, in its order: predictions, an error, or why it was skipped."""
    rows = batches.results(batch, model, precision, format)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", batch)
    headers = {"Content-Disposition": f'attachment; filename="{name}-results.{format}"'}
    return StreamingResponse(pieces(rows), media_type=FORMATS[format], headers=headers)


@router.get("/{batch}/pixels/{entry}", response_class=Response)
def pixels(batches: Found, batch: BatchId, entry: Annotated[int, Path(ge=0)]) -> Response:
    """What the network saw of one entry, as a JPEG."""
    data = batches.picture(batch, entry)
    return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300"})


@router.delete("/{batch}", status_code=204)
def delete(request: Request, batches: Found, batch: BatchId) -> None:
    """Stops what is going on, and removes the zip, the pixels and the results."""
    if "grant" in request.scope and batches.views.one(batch).state is not State.CREATED:
        raise wrong_state("The zip has arrived, and what it has become is removed with a key alone.")
    batches.delete(batch)
