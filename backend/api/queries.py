"""A query's parameters, where FastAPI does not read them: for a WebSocket, and where that would cost too much."""

from __future__ import annotations

from typing import TypeVar

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import HTTPConnection

__all__ = ["asked_by"]

A = TypeVar("A", bound=BaseModel)


def asked_by(asking: HTTPConnection, kind: type[A]) -> A:
    """The query as a `kind`. Raises what FastAPI would: RequestValidationError."""
    try:
        return kind.model_validate(dict(asking.query_params))
    except ValidationError as error:
        found = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error
