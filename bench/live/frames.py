"""What a camera would send: the samples as JPEGs of 640×480, each filled by the middle of one."""

from __future__ import annotations

import io
from dataclasses import dataclass

from PIL import Image, ImageOps

from bench.photographs import samples

SIZE = (640, 480)
QUALITY = 85
MARGIN, MOST_CROPS = 0.1, 4
"""Of detect+classify, both sides: random weights find nothing, so the surest boxes are taken, whatever their scores."""


@dataclass(frozen=True)
class LabelledFrame:
    """A frame's bytes, and the index of what is on it."""

    data: bytes
    index: int | None


def frames(count: int) -> list[LabelledFrame]:
    """`count` of them, spread over all samples."""
    all_of_them = list(samples())
    step = max(len(all_of_them) // count, 1)
    return [LabelledFrame(_as_sent(each.data), each.index) for each in all_of_them[::step][:count]]


def _as_sent(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as opened:
        picture = ImageOps.exif_transpose(opened).convert("RGB")
    buffer = io.BytesIO()
    ImageOps.fit(picture, SIZE, Image.Resampling.LANCZOS).save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()
