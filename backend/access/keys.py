"""The keys that a server takes: read from their file, and again whenever it changes."""

from __future__ import annotations

import hmac
import time
from pathlib import Path

import structlog

from contract.keys import BadKeys, Key, Keys, digest, id_of, read_keys

__all__ = ["KeyRing"]

log = structlog.get_logger()
LOOK_SECONDS = 1.0
_NOBODYS = digest("")


class KeyRing:
    """The keys of one file. What is damaged later changes nothing: the last good keys go on."""

    def __init__(self, path: Path) -> None:
        """Raises BadKeys."""
        self._path = path
        self._taken = self._refused = _look(path)
        self._looked = time.monotonic()
        self._take(read_keys(path))

    @property
    def token_secret(self) -> str:
        """What tokens are signed with."""
        self._follow()
        return self._secret

    def find(self, presented: str) -> Key | None:
        """The key that these words are. A wrong secret and an unknown id take the same time."""
        key = self.by_id(id_of(presented))
        right = hmac.compare_digest(digest(presented), key.sha256 if key else _NOBODYS)
        return key if right else None

    def by_id(self, identity: str) -> Key | None:
        """The key of this id, unless it was revoked."""
        self._follow()
        return self._keys.get(identity)

    def _follow(self) -> None:
        """Looks at the file once a second, and reads it until it could be taken, if it is another one."""
        now = time.monotonic()
        if now < self._looked + LOOK_SECONDS:
            return
        self._looked = now
        seen = _look(self._path)
        if seen == self._taken:
            return
        try:
            self._take(read_keys(self._path))
        except BadKeys as bad:
            if seen != self._refused:
                log.error("keys file not taken, the former keys go on", file=str(self._path), why=str(bad))
            self._refused = seen
        else:
            self._taken = self._refused = seen
            log.info("keys read again", keys=len(self._keys))

    def _take(self, keys: Keys) -> None:
        self._secret = keys.token_secret
        self._keys = {key.id: key for key in keys.keys}


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ctime_ns, found.st_size, found.st_ino  # not mtime: who may read it can change as well
