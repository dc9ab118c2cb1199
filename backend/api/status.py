"""Which models there are, and how the server is."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from backend.api.errors import ApiError, not_ready
from backend.api.schemas import (
    AbsentBody,
    AgreementBody,
    ErrorBody,
    ModelBody,
    ModelsResponse,
    StatusBody,
    TransformBody,
    VariantBody,
)
from backend.predictor import Predictor
from inference.artefacts import Artefact, ArtefactStore
from inference.catalogue import CATALOGUE, PRECISIONS, Model
from inference.choice import Choice, adds, is_built, usable, why_missing
from inference.devices import computes
from inference.engines import has_bf16
from inference.scheduler import DIED

router = APIRouter(tags=["status"])
_NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ErrorBody}}


@router.head("/healthz", include_in_schema=False)
@router.get("/healthz", responses=_NOT_READY)
async def healthz(request: Request) -> StatusBody:
    """200 while the process can work at all; restart it otherwise."""
    if not request.app.state.predictor.scheduler.alive:
        raise ApiError(503, "broken", "A worker of the scheduler has died; the server must be restarted.")
    return StatusBody(status="ok")


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=_NOT_READY)
async def readyz(request: Request) -> StatusBody:
    """200 once the golden image got its expected answer; send traffic only then."""
    predictor: Predictor = request.app.state.predictor
    if not predictor.scheduler.alive:
        raise not_ready(DIED)
    if request.app.state.draining:
        raise ApiError(503, "draining", "The server is about to stop: send nothing more.")
    if not predictor.ready:
        raise not_ready(predictor.why_not_ready)
    return StatusBody(status="ready")


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """For Prometheus."""
    return Response(generate_latest(request.app.state.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models")
def models(request: Request) -> ModelsResponse:
    """Every model of the catalogue: its variants for the server's device, or why it is missing."""
    store: ArtefactStore = request.app.state.store
    choice: Choice = request.app.state.predictor.choice
    device: str = request.app.state.settings.device
    built: dict[str, list[Artefact]] = {}
    for artefact in store.all():
        if artefact.card.precision in usable(store, artefact.card.model, device):
            built.setdefault(artefact.card.model, []).append(artefact)
    listed = [model for model in CATALOGUE if model.name in built or not model.for_measurements_only]
    return ModelsResponse(models=[_model(model, built.get(model.name, []), choice, store, device) for model in listed])


def _model(model: Model, artefacts: list[Artefact], choice: Choice, store: ArtefactStore, device: str) -> ModelBody:
    default = choice.variant.model == model.name
    reason = choice.reason if default else None if artefacts else why_missing(store, model.name, device)
    return ModelBody(
        name=model.name,
        title=model.title,
        default=default,
        status="ready" if artefacts else "missing",
        reason=reason,
        faster=choice.faster if default else None,
        why_not_faster=choice.why_not_faster if default else None,
        why_not_int8=choice.why_not_int8 if default else None,
        transform=TransformBody(**model.transform.to_dict()),
        variants=[_variant(artefact, choice, device) for artefact in artefacts],
        absent=_absent(model, {artefact.card.precision for artefact in artefacts}, store, device),
    )


def _absent(model: Model, there: set[str], store: ArtefactStore, device: str) -> list[AbsentBody]:
    """What the device could compute. All else is made of fp32; to random weights nobody is told to add more."""
    if model.for_measurements_only:
        return []
    wanted = [name for name in PRECISIONS if computes(device, name) and (name != "bf16" or has_bf16(device))]
    names = [name for name in wanted if name not in there] if is_built(store, model.name, device) else ["fp32"]
    return [AbsentBody(precision=name, command=f"ninefold models {adds(name, model.name, device)}") for name in names]


def _variant(artefact: Artefact, choice: Choice, device: str) -> VariantBody:
    return VariantBody(
        precision=artefact.card.precision,
        default=artefact.variant == choice.variant,
        size_bytes=artefact.card.size_on(device),
        agreement=AgreementBody(**asdict(artefact.card.agreement)),
    )
