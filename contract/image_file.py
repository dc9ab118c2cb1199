"""An image's file as it arrives: opened, or refused in words before anything of it is decoded.

Only the header is read here. What the bytes are is for them to say: a name or a content type has no say.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass

from PIL import Image, ImageFile, UnidentifiedImageError

# Pillow loads its plug-ins on demand; an allow-list needs them there from the start (and all forty would take a while).
from PIL import AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, MpoImagePlugin  # noqa: F401  # isort: skip
from PIL import PngImagePlugin, WebPImagePlugin  # noqa: F401  # isort: skip

from contract.pieces import most_exceeded

__all__ = ["BadImage", "ImageLimits", "open_image", "undecodable"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF")
"""What is accepted. An allow-list: every decoder that is not needed is a risk that is not taken."""

# Pillow warns of large pictures and of damaged metadata. Our own limit is stricter, and what counts is an exception.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BadImage(Exception):
    """An image that cannot be classified, with a stable `code` and a `message` for the person who sent it."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before any decoding: file size in bytes, width × height in pixels, and the longer side.

    What keeps all of a picture's length while it resamples (`TransformSpec.whole`) needs the last.
    """

    max_bytes: int = 25_000_000
    max_pixels: int = 50_000_000
    max_side: int | None = None


def open_image(data: bytes, limits: ImageLimits) -> ImageFile.ImageFile:
    """The picture with its header read, to be closed.

    Raises BadImage for what `limits` refuse, for what is put together from countless pieces, and for bytes that are no
    image of an accepted format.
    """
    if not data:
        raise BadImage("empty", "The file is empty. Send it again; it may not have been saved or uploaded completely.")
    if len(data) > limits.max_bytes:
        raise BadImage(
            "too_many_bytes",
            f"The file has {len(data) / 1e6:.1f} MB; {limits.max_bytes / 1e6:.0f} MB is the most. Send a smaller copy.",
        )
    if most := most_exceeded(data):
        message = (
            f"The picture is put together from more than {most} pieces. Open it in an image program and save it anew."
        )
        raise BadImage("too_complex", message)
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError as error:
        raise BadImage("unsupported_format", _what_is_it(data)) from error
    except Image.DecompressionBombError as error:
        raise _too_large("The picture is far too large", limits) from error
    except Exception as error:
        raise undecodable(error) from error
    if refused := _beyond(image.size, limits):
        image.close()
        raise refused
    return image


def _beyond(size: tuple[int, int], limits: ImageLimits) -> BadImage | None:
    width, height = size
    if width * height > limits.max_pixels:
        return _too_large(f"The picture is {width}×{height} ({width * height / 1e6:.0f} megapixels)", limits)
    if limits.max_side is not None and max(size) > limits.max_side:
        message = f"The picture is {width}×{height}; {limits.max_side} pixels a side is the most. Send a smaller copy."
        return BadImage("too_many_pixels", message)
    return None


def _too_large(what: str, limits: ImageLimits) -> BadImage:
    most = f"{limits.max_pixels / 1e6:.0f} megapixels is the most"
    return BadImage("too_many_pixels", f"{what}; {most}. Send a smaller copy.")


def _what_is_it(data: bytes) -> str:
    advice = "Send a JPEG, PNG, WebP, GIF, BMP or AVIF."
    if data[4:12] in (b"ftypheic", b"ftypheix", b"ftyphevc", b"ftypmif1", b"ftypmsf1"):
        return f"This is a HEIC picture, which is not supported. Export it as a JPEG. {advice}"
    if data[:4] in (b"II*\0", b"MM\0*"):
        return f"This is a TIFF picture, which is not supported. Save it as a PNG. {advice}"
    if data[:4] == b"%PDF":
        return f"This is a PDF document, not a picture. {advice}"
    if data[:4] == b"PK\x03\x04":
        return f"This is a zip archive, not a picture. {advice}"
    if data[:3] == b"\xff\xd8\xff":
        return "This JPEG breaks off before its picture begins. Send it again from the original."
    return f"The content is no picture in a format that is understood, whatever the file's name says. {advice}"


def undecodable(error: Exception) -> BadImage:
    """What a decoder's exception, whatever it is, means to the person who sent the picture."""
    if "truncated" in str(error).lower():
        return BadImage(
            "truncated",
            "The picture breaks off before its end: the file was cut short. Send it again from the original.",
        )
    if isinstance(error, MemoryError):
        return BadImage(
            "too_many_pixels", "The picture needs more memory to decode than there is. Send a smaller copy."
        )
    return BadImage(
        "corrupt", "The picture is damaged and cannot be decoded. Open it in an image program and save it anew."
    )
