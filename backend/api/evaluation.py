"""GET /v1/evaluation: what `ninefold evaluate` found out last, as it left it beside the models.

evaluation.json --read--> bytes --format--> one that this version reads --validate--> EvaluationBody
      404 no_evaluation     503 evaluation_newer            503 evaluation_damaged
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.api.errors import ApiError
from backend.api.schemas import ErrorBody
from backend.settings import Settings

FORMAT = 1
NAME = "evaluation.json"
MOST_BYTES = 1_000_000
COMMAND = "ninefold evaluate --data DIR --models all"

router = APIRouter(tags=["status"])
_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (404, 503)}
_Part = Annotated[float, Field(ge=0, le=1)]
_Positive = Annotated[float, Field(gt=0)]
_Count = Annotated[int, Field(ge=0)]


class _Body(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False, protected_namespaces=())


class ShareBody(_Body):
    """A share (0..1) of the pictures, and its 95 % interval."""

    share: _Part
    low: _Part
    high: _Part


class MeasuredBody(_Body):
    """A variant as it was measured. `random`: whether its weights are; `agreement`: how often its top-1 is that of
    fp32, None of fp32 itself; `milliseconds`: median of one image, pixels to logits, alone; `time_ratio`: that over
    fp32's of the same model; `images_per_second`: from JPEG bytes to the answer, on all cores."""

    model: str
    title: str
    precision: str
    random: bool = False
    images: _Count
    errors: _Count
    top1: ShareBody
    top5: ShareBody
    agreement: ShareBody | None
    milliseconds: _Positive
    time_ratio: _Positive | None
    images_per_second: _Positive
    size_bytes: _Count
    zipped_bytes: _Count


class NotMeasuredBody(_Body):
    """A model that was asked for and is not there."""

    model: str
    title: str
    reason: str


class DataBody(_Body):
    """The labelled pictures; `layout`: csv, folders or imagenet."""

    name: str
    layout: str
    images: _Count


class MachineBody(_Body):
    """Where it was measured, and on which of its devices; times mean nothing without."""

    device: str = "CPU"
    processor: str
    cores: int
    openvino: str


class EvaluationBody(_Body):
    """Accuracy, time and size of every variant, by one run on one machine."""

    format: int
    made_at: datetime
    data: DataBody
    machine: MachineBody
    variants: list[MeasuredBody]
    missing: list[NotMeasuredBody]


class _Format(BaseModel):
    format: int


@router.get("/v1/evaluation", responses=_ERRORS)
def evaluation(request: Request) -> EvaluationBody:
    """The last evaluation; a new one is there as soon as it is written."""
    settings: Settings = request.app.state.settings
    return read_evaluation(settings.evaluation or settings.models_dir / NAME)


def read_evaluation(path: Path) -> EvaluationBody:
    """Reads what `ninefold evaluate` wrote. Raises ApiError: 404 where nothing is, 503 where it cannot be read."""
    data = _read(path)
    try:
        found = _Format.model_validate_json(data).format
        if found != FORMAT:
            words = f"has format {found}, and this server reads {FORMAT}. Update the server, or make it anew"
            raise ApiError(503, "evaluation_newer", f"{NAME} {words}: `{COMMAND}`")
        return EvaluationBody.model_validate_json(data)
    except ValidationError as error:
        raise _damaged(_first(error)) from error


def _read(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise _damaged("it is no file")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        raise ApiError(404, "no_evaluation", f"Nothing has been evaluated yet. This does it: `{COMMAND}`") from None
    except OSError as error:
        raise _damaged(error.strerror or type(error).__name__) from error
    if len(data) > MOST_BYTES:
        raise _damaged(f"it has more than {MOST_BYTES:,} bytes")
    return data


def _damaged(why: str) -> ApiError:
    return ApiError(503, "evaluation_damaged", f"{NAME} cannot be read: {why}. Make it anew: `{COMMAND}`")


def _first(error: ValidationError) -> str:
    """The first thing that is wrong, and where, without what stands there."""
    first = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]
