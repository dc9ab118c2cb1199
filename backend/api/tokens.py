"""/v1/tokens: what a program with a key has issued for a browser, which must never see that key."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, Field
from ulid import ULID

from backend.access.tokens import Grant, Purpose, Tokens
from backend.api.errors import ApiError
from backend.api.schemas import ErrorBody

_ERRORS: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody} for status in (401, 409, 422)}
router = APIRouter(prefix="/v1/tokens", tags=["tokens"], responses=_ERRORS)
_OFF = "This server asks for no keys, so no token is needed."


class WantedToken(BaseModel):
    """`batch`: of whom; only for results, an upload gets the id of the batch that it may announce."""

    purpose: Purpose
    batch: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = None


class OldToken(BaseModel):
    """A token of an upload; it may be over."""

    token: str


class TokenBody(BaseModel):
    """A token, until when it is good, and for which batch."""

    token: str
    expires_at: datetime
    batch: str | None


def _tokens(request: Request) -> Tokens:
    found: Tokens | None = request.app.state.tokens
    if found is None:
        raise ApiError(409, "keys_off", _OFF)
    return found


Found = Annotated[Tokens, Depends(_tokens)]


@router.post("", status_code=201)
def issue(request: Request, tokens: Found, wanted: WantedToken) -> TokenBody:
    """A token for an hour at the most. Needs a key."""
    if (wanted.batch is None) == (wanted.purpose == "results"):
        raise ApiError(422, "invalid_parameter", "A token for results names a batch, and no other does.")
    batch = str(ULID()) if wanted.purpose == "upload" else wanted.batch
    grant = Grant(wanted.purpose, request.scope["key"], batch, int(time.time()))
    return _body(grant, tokens.issue(grant))


@router.post("/renew", status_code=201)
def renew(tokens: Found, old: OldToken) -> TokenBody:
    """A fresh token for an upload that goes on, for a week after it began. Needs a key, or any token of an upload."""
    renewed = tokens.renew(old.token)
    if renewed is None:
        raise ApiError(409, "too_old", "This upload cannot go on: it began too long ago, or elsewhere. Begin anew.")
    return _body(*renewed)


def _body(grant: Grant, issued: tuple[str, int]) -> TokenBody:
    token, end = issued
    return TokenBody(token=token, expires_at=datetime.fromtimestamp(end, UTC), batch=grant.batch)
