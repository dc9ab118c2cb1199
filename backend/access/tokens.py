"""Short-lived tokens, so that no key reaches a browser: each good for one purpose, and most for one batch.

upload   announces the one batch whose id it carries, and sends that one's zip
results  reads the results and the pictures of one batch, in an address (`?token=`): links and images send no headers
live     opens live connections
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from typing import Literal

from itsdangerous import BadData, URLSafeTimedSerializer

from backend.access.keys import KeyRing

__all__ = ["TOKEN_SECONDS", "Grant", "Purpose", "Tokens"]

Purpose = Literal["upload", "results", "live"]
TOKEN_SECONDS = 3600
RENEWABLE_SECONDS = 7 * 86400
"""How long after the first token of an upload a fresh one may be had: then the storage has ended its parts anyway."""
_LONGEST = 1024


@dataclass(frozen=True)
class Grant:
    """What a token allows. `batch`: of whom; `key`: the id of the key that it was had by; `since`: Unix seconds."""

    purpose: Purpose
    key: str
    batch: str | None
    since: int


class Tokens:
    """Issues and verifies. A token ends by itself, or with the key that it was had by."""

    def __init__(self, ring: KeyRing) -> None:
        self._ring = ring

    def issue(self, grant: Grant) -> tuple[str, int]:
        """(token, its end in Unix seconds)."""
        end = int(time.time()) + TOKEN_SECONDS
        return str(self._serializer(grant.purpose).dumps(asdict(grant))), end

    def verify(self, token: str, purpose: Purpose, seconds: int = TOKEN_SECONDS) -> Grant | None:
        """What it allows; None for one that is forged, over, for another purpose, or whose key was revoked."""
        if len(token) > _LONGEST:
            return None
        try:
            grant = Grant(**self._serializer(purpose).loads(token, max_age=seconds))
        except (BadData, TypeError):  # a TypeError: it is of another version
            return None
        return grant if self._ring.by_id(grant.key) else None

    def renew(self, token: str) -> tuple[Grant, tuple[str, int]] | None:
        """A fresh one for the upload of an older one, which may be over. None: it never was one, or is too old."""
        grant = self.verify(token, "upload", RENEWABLE_SECONDS)
        if grant is None or time.time() > grant.since + RENEWABLE_SECONDS:
            return None
        return grant, self.issue(grant)

    def _serializer(self, purpose: Purpose) -> URLSafeTimedSerializer:
        # The purpose is part of what the signing key is derived from: no token passes for another kind.
        return URLSafeTimedSerializer(self._ring.token_secret, salt=f"ninefold.{purpose}")
