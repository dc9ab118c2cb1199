"""What a live connection may do."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LONGEST_SIDE", "MOST_FILTERED", "LiveLimits"]

LONGEST_SIDE = 16_384
"""Of a frame, in pixels: detectors squeeze all of its length, and that costs memory by the side, not by the area."""
MOST_FILTERED = 4_000_000
"""Pixels of a frame that is filtered: at eight times its memory, two still fit into what all pictures share."""


@dataclass(frozen=True)
class LiveLimits:
    """Of one session. `frame_bytes`: of one frame; `fps`: answers a second at the most; `idle_seconds`: without a
    frame; `write_seconds`: for which an answer may not be read."""

    frame_bytes: int
    fps: float
    idle_seconds: float
    write_seconds: float
