"""Every error of a request, and the one shape they all have: {"error": {"code", "message"}}.

Below /v2 it is that of the Open Inference Protocol: {"error": message}.

    ApiError (status, code)
    ├── 400  malformed_request · bad_image (of /v2, whose requests fail as a whole)
    ├── 401  unauthorized
    ├── 403  forbidden (a token's other use) · origin_not_allowed (of /v1/live)
    ├── 404  unknown_model · no_evaluation · not_found
    ├── 405  method_not_allowed
    ├── 408  upload_stalled
    ├── 409  model_missing · filter_missing · tracker_missing · keys_off · too_old (a token)
    ├── 413  body_too_large
    ├── 415  unsupported_media_type
    ├── 421  unknown_host
    ├── 422  no_images · too_many_images · invalid_parameter · malformed_multipart · malformed_json
    ├── 426  upgrade_required (of /v1/live)
    ├── 429  overloaded · rate_limited (a key) · too_many_sessions (of /v1/live)
    ├── 500  internal
    ├── 503  not_ready · broken (of /healthz) · draining (of /readyz and /v1/live) · model_missing (asked by /v2 whether
    │        it is ready) · model_damaged · no_memory (for the model) · evaluation_damaged · evaluation_newer
    ├── 507  disk_full (no room for what is being uploaded)
    └── of a batch: see backend.batches.errors

All 429 and not_ready say Retry-After. What else the framework refuses has its status's phrase as its code.
Errors of one image are no errors of the request: they are rows of a 200.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from backend.batches.errors import BatchProblem
from inference.artefacts import DamagedArtefact
from inference.card import BadCard
from inference.choice import ModelMissing, ModelUnknown
from inference.scheduler import Closed, Overloaded


class ApiError(Exception):
    """A request that is refused: `message` says what to do."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self, path: str) -> JSONResponse:
        """The error as the answer to a request for `path`: below /v2 in the words that its protocol has for errors."""
        detail = self.message if f"{path}/".startswith("/v2/") else {"code": self.code, "message": self.message}
        return JSONResponse({"error": detail}, status_code=self.status, headers=self.headers)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it as the answer. Where a WebSocket cannot be answered in HTTP it is closed, with the code's name."""
        if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": 1008, "reason": self.code})
        else:
            await self.response(scope["path"])(scope, receive, send)


def not_ready(why: str) -> ApiError:
    """The answer while no model can answer."""
    return ApiError(503, "not_ready", f"The server is not ready: {why}.", retry_after="1")


def translate(error: Exception) -> ApiError:  # noqa: C901, PLR0911, PLR0912  # one line a kind of error
    """Any exception that a route lets out, as the error it is to the caller."""
    match error:
        case ApiError():
            return error
        case BatchProblem():
            headers = {"retry_after": "2"} if error.status == 503 else {}
            return ApiError(error.status, error.code, error.message, **headers)
        case ModelUnknown():
            return ApiError(404, "unknown_model", str(error))
        case ModelMissing():
            return ApiError(409, "model_missing", str(error))
        case Overloaded():
            message = f"The server has as much to do as it can take. Try again in {error.retry_after} s."
            return ApiError(429, "overloaded", message, retry_after=str(error.retry_after))
        case DamagedArtefact() | BadCard():
            return ApiError(503, "model_damaged", f"{error}.")
        case MemoryError():
            return ApiError(503, "no_memory", "The server's device has no memory for that now. Try again later.")
        case Closed():
            return not_ready(str(error))
        case RequestValidationError():
            return _invalid_parameter(error)
        case HTTPException():
            return _http_error(error)
    return ApiError(500, "internal", "Something went wrong in the server; its log tells what, by the request id.")


def _invalid_parameter(error: RequestValidationError) -> ApiError:
    first = error.errors()[0]
    name, given = first["loc"][-1], first.get("input")
    shown = f"{given!s:.40}".encode("utf-8", "replace").decode()
    return ApiError(422, "invalid_parameter", f"{name}={shown}: {first['msg']}.")


def _http_error(error: HTTPException) -> ApiError:
    if error.status_code == 404:
        return ApiError(404, "not_found", "There is nothing at this address. /docs lists what there is.")
    phrase = HTTPStatus(error.status_code).phrase
    code, headers = phrase.lower().replace(" ", "_"), error.headers or {}
    return ApiError(error.status_code, code, f"{str(error.detail).rstrip('.')}.", **headers)


def install(app: FastAPI) -> None:
    """Renders the exceptions of a request in the one shape; unexpected ones are `middleware.RequestRecord`'s."""

    async def render(request: Request, error: Exception) -> JSONResponse:
        return translate(error).response(request.scope["path"])

    of_models = (ModelUnknown, ModelMissing, DamagedArtefact, BadCard)
    for kind in (ApiError, BatchProblem, *of_models, Overloaded, Closed, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, render)
