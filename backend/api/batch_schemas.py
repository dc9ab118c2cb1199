"""The JSON about batches that comes in and goes out, as /docs shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from backend.api.schemas import ErrorDetail
from backend.batches.view import BatchView, Prediction, Problem, Progress
from contract.shards import Counts


class NewBatch(BaseModel):
    """A zip that is to be uploaded."""

    filename: str = Field(min_length=1, max_length=1024)
    size_bytes: int


class UploadPlan(BaseModel):
    """How the zip is to be cut: `parts` parts of `part_size` bytes, the last one shorter."""

    part_size: int
    parts: int


class CreatedBatch(BaseModel):
    """A batch that waits for its zip."""

    id: str
    upload: UploadPlan


class WantedParts(BaseModel):
    """Numbers of parts, from 1."""

    parts: list[int] = Field(min_length=1, max_length=64)


class PartUrls(BaseModel):
    """Where to PUT each part."""

    urls: dict[int, str]
    expires_seconds: int


class ArrivedPart(BaseModel):
    """A part that S3 has."""

    part: int
    size_bytes: int


class UploadState(UploadPlan):
    """What arrived so far: the rest is still to be sent."""

    filename: str
    size_bytes: int
    arrived: list[ArrivedPart]


class WantedModel(BaseModel):
    """Which variant; without it the default."""

    model: str | None = None
    precision: str | None = None


class Expiry(BaseModel):
    """When the zip with its pixels, and the results, are removed."""

    upload: datetime | None
    results: datetime | None


class ProgressBody(BaseModel):
    """How far a stage is, in entries of the zip."""

    stage: Literal["preprocessing", "predicting"]
    detail: str
    done: int
    total: int
    seconds_left: float | None


class RunBody(BaseModel):
    """The job run, as Glue says it."""

    id: str
    state: str


class CountsBody(BaseModel):
    """predictions + errors + skipped = entries."""

    predictions: int
    errors: int
    skipped: int
    entries: int


class PredictionBody(BaseModel):
    """One variant's predictions of the batch."""

    model: str
    precision: str
    state: Literal["predicting", "done", "failed"]
    done: int
    total: int
    error: ErrorDetail | None
    counts: CountsBody | None


class BatchBody(BaseModel):
    """A batch, as it is just now."""

    id: str
    filename: str
    size_bytes: int
    state: Literal["created", "uploaded", "preprocessing", "ready", "predicting", "done", "failed", "expired"]
    created: datetime
    expires: Expiry
    error: ErrorDetail | None
    restartable: bool
    entries: int | None
    images: int | None
    errors: int | None
    skipped: int | None
    progress: ProgressBody | None
    run: RunBody | None
    predictions: list[PredictionBody]


class NoticeBody(BaseModel):
    """What the operator wants read; and whether the data lives only as long as the application."""

    message: str
    disposable: bool


class LimitsBody(BaseModel):
    """Of one zip."""

    zip_bytes: int
    entries: int


class BatchesBody(BaseModel):
    """Every batch, the newest first."""

    batches: list[BatchBody]
    notice: NoticeBody
    limits: LimitsBody


def batch_body(view: BatchView) -> BatchBody:
    """The view as it goes out."""
    counts, run = view.counts, view.run
    return BatchBody(
        id=view.id,
        filename=view.file_name,
        size_bytes=view.size_bytes,
        state=view.state.value,
        created=view.created,
        expires=Expiry(upload=view.upload_expires, results=view.results_expire),
        error=_error(view.problem),
        restartable=view.restartable,
        entries=view.entries if view.entries is not None else counts.entries if counts else None,
        images=counts.images if counts else None,
        errors=counts.errors if counts else None,
        skipped=counts.skipped if counts else None,
        progress=_progress(view.progress),
        run=RunBody(id=run.job_run_id, state=view.run_status.state if view.run_status else "") if run else None,
        predictions=[_prediction(found) for found in view.predictions],
    )


def _error(problem: Problem | None) -> ErrorDetail | None:
    return ErrorDetail(code=problem.code, message=problem.message) if problem else None


def _progress(progress: Progress | None) -> ProgressBody | None:
    if progress is None:
        return None
    return ProgressBody(
        stage="predicting" if progress.stage == "predicting" else "preprocessing",
        detail=progress.detail,
        done=progress.done,
        total=progress.total,
        seconds_left=progress.seconds_left,
    )


def _prediction(found: Prediction) -> PredictionBody:
    return PredictionBody(
        model=found.model,
        precision=found.precision,
        state="done" if found.state == "done" else "failed" if found.state == "failed" else "predicting",
        done=found.done,
        total=found.total,
        error=_error(found.problem),
        counts=_counts(found.counts),
    )


def _counts(counts: Counts | None) -> CountsBody | None:
    if counts is None:
        return None
    return CountsBody(predictions=counts.images, errors=counts.errors, skipped=counts.skipped, entries=counts.entries)
