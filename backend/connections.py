"""How uvicorn takes connections here."""

from __future__ import annotations

import uvicorn
from fastapi import FastAPI

from backend.live.protocol import LiveProtocol
from backend.settings import Settings

__all__ = ["uvicorn_config"]

_IDLE_SECONDS = 75
"""How long a connection may lie idle. A proxy must be the first to close it, or a request could meet a closed one."""


def uvicorn_config(app: FastAPI, settings: Settings) -> uvicorn.Config:
    """What a uvicorn.Server of `app` is made of."""
    return uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=_IDLE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        ws=LiveProtocol,
        # A frame that is too large gets an answer; one far too large the end, while it is still coming in.
        ws_max_size=2 * settings.live_limits.frame_bytes,
        ws_per_message_deflate=False,  # JPEGs do not become smaller, and a few bytes could become megabytes
    )
