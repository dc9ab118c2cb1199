"""What a live connection may do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LiveLimits"]


@dataclass(frozen=True)
class LiveLimits:
    """Of one session. `frame_bytes`: of one frame; `fps`: answers a second at the most; `idle_seconds`: without a
    frame; `write_seconds`: for which an answer may not be read."""

    frame_bytes: int
    fps: float
    idle_seconds: float
    write_seconds: float
