"""The JSON that goes out, as /docs shows it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """A stable code for programs, a message for people."""

    code: str
    message: str


class ErrorBody(BaseModel):
    """The one shape of every error."""

    error: ErrorDetail


class LiveBody(BaseModel):
    """What stands against each mode of a live connection, and against the filter; null: nothing."""

    modes: dict[str, ErrorDetail | None]
    filter: ErrorDetail | None


class PredictionRow(BaseModel):
    """A class and its probability; the most probable comes first."""

    label: str
    index: int
    probability: float


class ImageOk(BaseModel):
    """An image that was classified."""

    name: str
    status: Literal["ok"] = "ok"
    predictions: list[PredictionRow]


class ImageError(BaseModel):
    """An image that could not be classified; the others are not affected."""

    name: str
    status: Literal["error"] = "error"
    error: ErrorDetail


class PredictResponse(BaseModel):
    """One result an image, in the order they were sent."""

    model: str
    precision: str
    results: list[ImageOk | ImageError]


class AgreementBody(BaseModel):
    """How close the variant is to `reference` (fp32: torch; the others: fp32), measured on `images` pictures."""

    reference: str
    images: int
    top1: float
    max_logit_difference: float
    max_probability_difference: float


class VariantBody(BaseModel):
    """A model in one precision, as it is on this server."""

    precision: str
    default: bool
    size_bytes: int
    agreement: AgreementBody


class TransformBody(BaseModel):
    """From a picture to pixels: the shorter side becomes `resize`, and of that the centre, `crop` × `crop`, is taken.
    `mean` and `std` are per channel, on the scale 0..1."""

    resize: int
    crop: int
    interpolation: str
    mean: list[float]
    std: list[float]


class AbsentBody(BaseModel):
    """A precision in which a model could be here and is not, and the command that adds it."""

    precision: str
    command: str


class ModelBody(BaseModel):
    """A model of the catalogue. `reason`: why it is missing, or why it is the default; of the default, `faster`: the
    precision that is the fastest here, `why_not_faster`: why it answers in another (`why_not_int8`: the
    same where that is int8); `absent`: what could be added, fp32 before all others."""

    name: str
    title: str
    default: bool
    status: Literal["ready", "missing"]
    reason: str | None
    faster: str | None
    why_not_faster: str | None
    why_not_int8: str | None
    transform: TransformBody
    variants: list[VariantBody]
    absent: list[AbsentBody]


class ModelsResponse(BaseModel):
    """Every model that a person may choose, ready or missing."""

    models: list[ModelBody]


class StatusBody(BaseModel):
    """Health in one word."""

    status: str
