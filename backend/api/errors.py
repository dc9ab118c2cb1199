"""Every error of a request, and the one shape they all have: {"error": {"code", "message"}}.

Below /v2 it is that of the Open Inference Protocol: {"error": message}.

    ApiError (status, code)
    ├── no_images · too_many_images · invalid_parameter                         422
    ├── malformed_multipart · malformed_json                                    422
    ├── malformed_request (of the Open Inference Protocol)                      400
    ├── unsupported_media_type                                                  415
    ├── body_too_large                                                          413
    ├── upload_stalled                                                          408
    ├── unknown_model, or no such path 404 · method_not_allowed 405 · model_missing 409
    ├── unauthorized 401 · forbidden (a token's other use) 403 · rate_limited (of a key) 429
    ├── keys_off, too_old (of a token)                                          409
    ├── overloaded 429 · not_ready 503        both with Retry-After
    ├── draining (of /readyz alone: about to stop, still answering)             503
    ├── model_damaged · no_memory (for the model)                               503
    ├── no_evaluation 404 · evaluation_damaged, evaluation_newer                503
    ├── of /v1/live: origin_not_allowed 403 · filter_missing, tracker_missing 409 · too_many_sessions 429 ·
    │   upgrade_required 426
    ├── disk_full (no room for what is being uploaded)                          507
    ├── of a batch: see backend.batches.errors
    └── internal                                                                500

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
            return not_ready("it is shutting down")
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
