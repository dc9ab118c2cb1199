"""Every setting of the page, read from the environment in this one place and passed down from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """`api_url` (NINEFOLD_API_URL): where this process, not the browser, finds the server.

    `public_api_url` (NINEFOLD_PUBLIC_API_URL): where the browser finds it; as the former, unless set. A browser
    cannot resolve the names that processes call each other by.
    `max_image_mb` (NINEFOLD_MAX_IMAGE_MB, the server's own setting): larger pictures are refused without being sent.
    `api_key` (NINEFOLD_API_KEY): what this process sends to a server that asks for keys; no browser gets it.
    `password_hash` (NINEFOLD_PAGE_PASSWORD_HASH): what `ninefold keys password` printed.
    `sign_in_required` (NINEFOLD_PAGE_SIGN_IN=required, or anything but `optional`): without any the page shows nothing.
    `members` (NINEFOLD_PAGE_MEMBERS): of those whom the identity provider knows, addresses or `@domain`s; none: all.
    """

    api_url: str = "http://127.0.0.1:8000"
    public_api_url: str = "http://127.0.0.1:8000"
    max_image_mb: float = 25
    api_key: str = field(default="", repr=False)
    password_hash: str = field(default="", repr=False)
    sign_in_required: bool = False
    members: tuple[str, ...] = ()

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """From the environment; what is not set, or empty, keeps its default."""
        api_url = (environment.get("NINEFOLD_API_URL") or cls.api_url).rstrip("/")
        return cls(
            api_url=api_url,
            public_api_url=(environment.get("NINEFOLD_PUBLIC_API_URL") or api_url).rstrip("/"),
            max_image_mb=float(environment.get("NINEFOLD_MAX_IMAGE_MB") or cls.max_image_mb),
            api_key=(environment.get("NINEFOLD_API_KEY") or "").strip(),
            password_hash=(environment.get("NINEFOLD_PAGE_PASSWORD_HASH") or "").strip(),
            sign_in_required=(environment.get("NINEFOLD_PAGE_SIGN_IN") or "optional") != "optional",
            members=tuple(filter(None, map(str.strip, (environment.get("NINEFOLD_PAGE_MEMBERS") or "").split(",")))),
        )

    @property
    def max_image_bytes(self) -> int:
        """The largest picture that is sent."""
        return int(self.max_image_mb * 1e6)
