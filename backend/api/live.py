"""/v1/live: a camera's frames in over a WebSocket, one answer a frame out.

What is wrong is said before the upgrade, as an answer in HTTP. A browser's script is not shown that answer: it asks the
same address by GET, which says what its WebSocket would be told.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, WebSocket
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from starlette.requests import HTTPConnection

from backend.access.keys import KeyRing
from backend.api.errors import ApiError, not_ready, translate
from backend.api.schemas import ErrorBody
from backend.live.looking import Looks, soon
from backend.live.session import Session
from backend.live.sessions import Sessions
from backend.metrics import Metrics
from backend.settings import Settings
from inference.artefacts import Variant
from inference.detectors import Mode

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
            asked = _asked(socket)
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


def _admitted(asking: HTTPConnection, asked: _Asked) -> Variant:
    """The classifier of who is let in, as far as that can be told without loading anything; else raises the error."""
    state, predictor = asking.app.state, asking.app.state.predictor
    _check_origin(asking.headers.get("origin"), state.settings)
    if not predictor.scheduler.alive:
        raise not_ready("a worker of the scheduler has died, and the server must be restarted")
    if state.draining:
        raise ApiError(503, "draining", "The server is about to stop: connect again, to another.", retry_after="1")
    if not predictor.ready:
        raise not_ready(predictor.why_not_ready)
    variant: Variant = predictor.resolve(asked.model, asked.precision)
    _looks(asking).check(asked.mode, asked.filter)
    state.live.check_room(_key(asking))
    return variant


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


def _asked(asking: HTTPConnection) -> _Asked:
    try:
        return _Asked.model_validate(dict(asking.query_params))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error


def _still_allowed(socket: WebSocket) -> Callable[[], bool]:
    """Whether the key that it was opened by is one still."""
    keys: KeyRing | None = socket.app.state.keys
    if keys is None:
        return lambda: True
    return lambda: keys.by_id(socket.scope["key"]) is not None
