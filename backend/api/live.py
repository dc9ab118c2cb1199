"""/v1/live: a camera's frames in over a WebSocket, one answer a frame out.

What is wrong is said before the upgrade, as an answer in HTTP. A browser's script is not shown that answer: it asks the
same address by GET, which says what its WebSocket would be told. A page asks once about all that may be chosen.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, WebSocket
from pydantic import BaseModel, ConfigDict, Field, field_validator
from starlette.requests import HTTPConnection

from backend.access.keys import KeyRing
from backend.api.errors import ApiError, not_ready, translate
from backend.api.queries import asked_by
from backend.api.schemas import ErrorBody, ErrorDetail, LiveBody
from backend.live.looking import Looks, soon
from backend.live.session import Session
from backend.live.sessions import Sessions
from backend.metrics import Metrics
from backend.settings import Settings
from inference.artefacts import Variant
from inference.detectors import Mode
from inference.scheduler import DIED

router = APIRouter(prefix="/v1", tags=["live"])
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody} for status in (403, 404, 409, 422, 426, 429, 503)
}


class _Asked(BaseModel):
    """The query's parameters."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())
    mode: Mode = Field(Mode.CLASSIFY, description="what is asked of each frame")
    model: str | None = Field(None, description="without it: the default")
    precision: str | None = Field(None, description="without it: the model's default")
    filter: bool = Field(False, description="whether noise is filtered out of the frames first")
    top_k: int = Field(5, ge=1, le=20, description="how many labels a frame")

    @field_validator("mode", mode="before")
    @classmethod
    def _with_its_plus(cls, mode: object) -> object:
        """In an address + means a space, and is easily forgotten to be written as %2B."""
        return mode.replace(" ", "+") if isinstance(mode, str) else mode


@router.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Answers frames until the connection ends."""
    settings: Settings = socket.app.state.settings
    metrics: Metrics = socket.app.state.metrics
    sessions: Sessions = socket.app.state.live
    with ExitStack() as held:
        try:
            asked = asked_by(socket, _Asked)
            variant = _admitted(socket, asked)
            held.enter_context(sessions.room(_key(socket)))
            look = await soon(_looks(socket).make(asked.mode, asked.filter, variant, asked.top_k))
        except Exception as error:
            refused = translate(error)
            if refused.status == 500:
                raise
            await refused.refuse(socket.scope, socket.receive, socket.send)
            return
        await sessions.run(Session(socket, look, settings.live_limits, metrics.record_frame, _still_allowed(socket)))


@router.get("/live", status_code=426, responses=_ERRORS)
async def why_not(request: Request, asked: Annotated[_Asked, Query()]) -> ErrorBody:
    """Why a WebSocket to this address would be refused; 426 if it would not: this is no address for a GET."""
    _admitted(request, asked)
    message = "Open this address as a WebSocket, and send JPEG frames as binary messages."
    raise ApiError(426, "upgrade_required", message, upgrade="websocket")


@router.get("/live/modes", responses=_ERRORS)
async def modes(request: Request) -> LiveBody:
    """What a WebSocket would be refused of what may be chosen: each mode, and the filter. Loads nothing."""
    _check_open(request)
    return LiveBody(
        modes={mode.value: _refused(request, mode, False) for mode in Mode},
        filter=_refused(request, Mode.CLASSIFY, True),
    )


def _refused(asking: HTTPConnection, mode: Mode, filtered: bool) -> ErrorDetail | None:
    """The error, or None."""
    try:
        _looks(asking).check(mode, filtered)
    except ApiError as refused:
        return ErrorDetail(code=refused.code, message=refused.message)
    return None


def _admitted(asking: HTTPConnection, asked: _Asked) -> Variant:
    """The classifier of who is let in, as far as that can be told without loading anything; else raises the error."""
    _check_open(asking)
    variant: Variant = asking.app.state.predictor.resolve(asked.model, asked.precision)
    _looks(asking).check(asked.mode, asked.filter)
    asking.app.state.live.check_room(_key(asking))
    return variant


def _check_open(asking: HTTPConnection) -> None:
    """Raises ApiError where nobody is let in, or not from there."""
    state, predictor = asking.app.state, asking.app.state.predictor
    _check_origin(asking.headers.get("origin"), state.settings)
    if not predictor.scheduler.alive:
        raise not_ready(DIED)
    if state.draining:
        raise ApiError(503, "draining", "The server is about to stop: connect again, to another.", retry_after="1")
    if not predictor.ready:
        raise not_ready(predictor.why_not_ready)


def _key(asking: HTTPConnection) -> str | None:
    """The id of the key that it is asked by, where the server asks for keys."""
    key: str | None = asking.scope.get("key")
    return key


def _looks(asking: HTTPConnection) -> Looks:
    looks: Looks = asking.app.state.looks
    return looks


def _check_origin(origin: str | None, settings: Settings) -> None:
    """Browsers let any page's script open a WebSocket anywhere, and say whose it is; programs name no origin."""
    if origin is not None and origin not in settings.origins:
        message = (
            f"Pages of {origin:.100} may not open live connections here; NINEFOLD_PAGE_ORIGINS names those that may."
        )
        raise ApiError(403, "origin_not_allowed", message)


def _still_allowed(socket: WebSocket) -> Callable[[], bool]:
    """Whether the key that it was opened by is one still."""
    keys: KeyRing | None = socket.app.state.keys
    if keys is None:
        return lambda: True
    return lambda: keys.by_id(socket.scope["key"]) is not None
