"""Every setting of the page, read from the environment in this one place and passed down from here."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """`api_url` (NINEFOLD_API_URL): where this process, not the browser, finds the server.

    `public_api_url` (NINEFOLD_PUBLIC_API_URL): where the browser finds it; as the former, unless set. A browser
    cannot resolve the names that processes call each other by.
    `max_image_mb` (NINEFOLD_MAX_IMAGE_MB, the server's own setting): larger pictures are refused without being sent.
    """

    api_url: str = "http://127.0.0.1:8000"
    public_api_url: str = "http://127.0.0.1:8000"
    max_image_mb: float = 25

    @classmethod
    def read(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """From the environment; what is not set, or empty, keeps its default."""
        api_url = (environment.get("NINEFOLD_API_URL") or cls.api_url).rstrip("/")
        return cls(
            api_url=api_url,
            public_api_url=(environment.get("NINEFOLD_PUBLIC_API_URL") or api_url).rstrip("/"),
            max_image_mb=float(environment.get("NINEFOLD_MAX_IMAGE_MB") or cls.max_image_mb),
        )

    @property
    def max_image_bytes(self) -> int:
        """The largest picture that is sent."""
        return int(self.max_image_mb * 1e6)
