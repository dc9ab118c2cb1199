"""The keys of the API: what one looks like, and the file in which a server finds those that it takes.

    {"token_secret": "…", "keys": [{"id", "name", "sha256", "created", "requests_per_minute"}]}

A key is `nf_ID_SECRET`. The secret is 256 random bits, so one SHA-256 hides it: nobody can try them all.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = ["PREFIX", "BadKeys", "Key", "Keys", "digest", "id_of", "new_key", "new_keys", "read_keys"]

PREFIX = "nf_"
_ID = re.compile(r"[0-9a-f]{8}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEAST_SECRET = 32
"""Characters of a token secret: a short one could be guessed from a token."""


class BadKeys(Exception):
    """A keys file that cannot be used: says why."""


@dataclass(frozen=True)
class Key:
    """One key, without its secret. `requests_per_minute`: None means as many as it likes."""

    id: str
    name: str
    sha256: str
    created: str
    requests_per_minute: int | None = None


@dataclass(frozen=True)
class Keys:
    """The whole file. `token_secret` signs the tokens that the server hands out."""

    token_secret: str
    keys: tuple[Key, ...] = ()

    def encode(self) -> bytes:
        """The file's content."""
        body = {"token_secret": self.token_secret, "keys": [asdict(key) for key in self.keys]}
        return json.dumps(body, indent=2, ensure_ascii=False).encode() + b"\n"

    @classmethod
    def decode(cls, data: bytes) -> Keys:
        """Raises BadKeys."""
        try:
            body = json.loads(data)
            secret, keys = body["token_secret"], tuple(_key(entry) for entry in body["keys"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadKeys("it is no keys file, or a damaged one") from error
        if not isinstance(secret, str) or len(secret) < _LEAST_SECRET:
            raise BadKeys(f"its token_secret has fewer than {_LEAST_SECRET} characters")
        if len({key.id for key in keys}) < len(keys):
            raise BadKeys("two of its keys have the same id")
        return cls(secret, keys)


def read_keys(path: Path) -> Keys:
    """A server's keys. Raises BadKeys, saying what to do."""
    try:
        keys = Keys.decode(path.read_bytes())
    except OSError as error:
        raise BadKeys(f"{path} cannot be read ({error.strerror}); `ninefold keys add` makes it") from error
    except BadKeys as bad:
        raise BadKeys(f"{path} cannot be used: {bad}") from bad
    if not keys.keys:
        raise BadKeys(f"{path} has no key; `ninefold keys add` makes one")
    return keys


def new_keys() -> Keys:
    """A file without keys, with a token secret of its own."""
    return Keys(secrets.token_urlsafe(32))


def new_key(name: str, requests_per_minute: int | None = None) -> tuple[Key, str]:
    """A fresh key, and the words that a program sends: they are nowhere else."""
    identity = secrets.token_hex(4)
    presented = f"{PREFIX}{identity}_{secrets.token_urlsafe(32)}"
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return Key(identity, name, digest(presented), created, requests_per_minute), presented


def id_of(presented: str) -> str:
    """The id within what a program sent; of what is no key: nothing that any key has."""
    return presented[len(PREFIX) :].partition("_")[0]


def digest(presented: str) -> str:
    """What the file keeps of a key, in hexadecimal."""
    return sha256(presented.encode("utf-8", "surrogatepass")).hexdigest()


def _key(entry: Mapping[str, Any]) -> Key:
    limit = entry.get("requests_per_minute")
    key = Key(str(entry["id"]), str(entry["name"]), str(entry["sha256"]), str(entry.get("created", "")), limit)
    if not _ID.fullmatch(key.id) or not _DIGEST.fullmatch(key.sha256):
        raise ValueError("no id, or no digest")
    if limit is not None and (type(limit) is not int or limit < 1):
        raise ValueError("no number of requests")
    return key
