"""Asks every request who it is, before anything of it is read: a key, or a token where one will do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn
from urllib.parse import parse_qs

from prometheus_client import Counter
from starlette.types import ASGIApp, Receive, Scope, Send

from backend.access.keys import KeyRing
from backend.access.rates import Rates
from backend.access.tokens import Grant, Tokens
from backend.api.errors import ApiError
from backend.metrics import Metrics
from contract.keys import PREFIX, Key

__all__ = ["OPEN", "Access"]

OPEN = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""What needs no key. The proxy passes /metrics on to nobody outside."""
_LIVE = "/v1/live"
"""A browser's script is not told why a WebSocket was refused: it asks by GET."""
_NO_KEY = (
    "Send a key, as the header `Authorization: Bearer nf_…`. Whoever runs this server makes one: `ninefold keys add`."
)
_WRONG_KEY = "This key is not known here: it is mistyped, or it was revoked."
_WRONG_TOKEN = "This token is over, or was never good here. Reload the page that it comes from."  # noqa: S105  # words
_OTHER_USE = "This token is good for one batch, and for nothing else."


class Access:
    """Lets in who has a key, or a token for exactly this; leaves `key` (its id) and `grant` in the scope."""

    def __init__(self, app: ASGIApp, ring: KeyRing, tokens: Tokens, metrics: Metrics) -> None:
        self._app = app
        self._ring = ring
        self._tokens = tokens
        self._rates = Rates()
        self._wrong = Counter(
            "ninefold_refused_keys", "Keys and tokens that were not taken.", registry=metrics.registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "lifespan" or scope["path"] in OPEN:
            await self._app(scope, receive, send)
            return
        try:
            key = self._admit(scope)
            scope["key"] = key.id
            if seconds := self._rates.seconds_to_wait(key):
                raise _too_often(key, seconds)
        except ApiError as refused:
            await refused.refuse(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> Key:
        """Whose request it is. Raises ApiError 401 or 403."""
        sent = _sent(scope["headers"])
        if sent.startswith(PREFIX):
            return self._ring.find(sent) or self._refuse(_WRONG_KEY)
        if sent:
            grant = self._tokens.verify(sent, "upload")
            allowed = grant is not None and _is_of_upload(scope, grant.batch)
        elif token := _in_address(scope):
            live = scope["type"] == "websocket" or (scope["method"], scope["path"]) == ("GET", _LIVE)
            grant = self._tokens.verify(token, "live" if live else "results")
            allowed = live or (grant is not None and _is_of_results(scope, grant.batch))
        else:
            raise _unauthorized(_NO_KEY)
        if grant is None:
            self._refuse(_WRONG_TOKEN)
        if not allowed:
            raise ApiError(403, "forbidden", _OTHER_USE)
        return self._holder(scope, grant)

    def _holder(self, scope: Scope, grant: Grant) -> Key:
        """The key that the token was had by: what a browser asks counts as asked by its page."""
        scope["grant"] = grant
        return self._ring.by_id(grant.key) or self._refuse(_WRONG_TOKEN)

    def _refuse(self, words: str) -> NoReturn:
        self._wrong.inc()
        raise _unauthorized(words)


def _sent(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The key or token of the headers, or nothing."""
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip().decode("latin-1")
        if name == b"x-api-key":
            return value.strip().decode("latin-1")
    return ""


def _in_address(scope: Scope) -> str:
    """The token of an address, or nothing."""
    query: bytes = scope["query_string"]
    if b"token=" not in query:
        return ""
    return parse_qs(query.decode("latin-1")).get("token", [""])[-1]


def _is_of_upload(scope: Scope, batch: str | None) -> bool:
    """What a browser asks that sends a zip. Paths are compared as a whole: the router sees the very same ones."""
    path = f"/v1/batches/{batch}"
    return (scope.get("method"), scope["path"]) in (
        ("POST", "/v1/batches"),
        ("POST", "/v1/tokens/renew"),
        ("GET", path),
        ("DELETE", path),
        ("GET", f"{path}/upload"),
        ("POST", f"{path}/upload/urls"),
        ("POST", f"{path}/upload/complete"),
    )


def _is_of_results(scope: Scope, batch: str | None) -> bool:
    """What a link or an image asks."""
    path = f"/v1/batches/{batch}"
    base, _, _ = scope["path"].rpartition("/")
    return bool(scope["method"] == "GET" and (scope["path"] == f"{path}/results" or base == f"{path}/pixels"))


def _unauthorized(words: str) -> ApiError:
    return ApiError(401, "unauthorized", words, WWW_Authenticate="Bearer")


def _too_often(key: Key, seconds: int) -> ApiError:
    message = f"This key may ask {key.requests_per_minute} times a minute. Try again in {seconds} s."
    return ApiError(429, "rate_limited", message, retry_after=str(seconds))
