"""A small upright JPEG for a card, so that the browser never gets the original of up to 25 MB."""

from __future__ import annotations

import io

from PIL import Image, ImageOps

from frontend.pieces import most_exceeded

__all__ = ["thumbnail"]

LONG_SIDE = 560
MAX_PIXELS = 50_000_000
QUALITY = 82
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")


def thumbnail(data: bytes) -> bytes | None:
    """JPEG bytes of at most LONG_SIDE pixels a side, or None where there is nothing to show."""
    if most_exceeded(data) is not None:  # it would hold the page for minutes; the server names it on its card
        return None
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            image.draft("RGB", (LONG_SIDE, LONG_SIDE))
            return _encode(_small(image))
    except Exception:  # noqa: BLE001 - a decoder may raise anything on a damaged file; no preview is no failure
        return None


def _small(image: Image.Image) -> Image.Image:
    image.thumbnail((LONG_SIDE, LONG_SIDE), reducing_gap=2.0)
    upright = ImageOps.exif_transpose(image)
    if "A" not in upright.getbands() and "transparency" not in upright.info:
        return upright.convert("RGB")
    layer = upright.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _encode(image: Image.Image) -> bytes:
    # A new picture: what the file carried beside its pixels (place, camera) stays out of the page.
    clean = Image.new("RGB", image.size)
    clean.paste(image)
    out = io.BytesIO()
    clean.save(out, "JPEG", quality=QUALITY, optimize=True)
    return out.getvalue()
