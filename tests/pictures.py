"""Pictures made on the spot: the good, the odd and the hostile. Every test that needs bytes takes them from here."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SAMPLES = Path(__file__).parent.parent / "frontend" / "samples"


def sample(name: str) -> bytes:
    """A freely licensed photograph of the page's own samples."""
    return (SAMPLES / name).read_bytes()


def photo(size: tuple[int, int] = (400, 300), seed: int = 0) -> Image.Image:
    """Something with the smoothness and the detail of a photograph, in RGB."""
    numbers = np.random.default_rng(seed)
    coarse = Image.fromarray(numbers.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(
        size, Image.Resampling.BICUBIC
    )
    grain = numbers.normal(0, 6, (size[1], size[0], 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


def encode(image: Image.Image, format: str = "JPEG", **options: object) -> bytes:
    """The image as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def jpeg(size: tuple[int, int] = (400, 300), seed: int = 0, **options: object) -> bytes:
    """A small photograph-like JPEG."""
    return encode(photo(size, seed), "JPEG", **{"quality": 92} | options)


def motion_photo(film: int = 12_000_000) -> bytes:
    """As phones write it: a JPEG, and behind its end a film of so many bytes, which hold every marker there is."""
    return jpeg() + b"\0\0\0\x18ftypmp42" + random.Random(9).randbytes(film)


def mpo(pictures: int = 3, progressive: bool = True) -> bytes:
    """Several JPEGs in one file, as cameras with two lenses and panoramas have them; here each has ten scans."""
    first, *others = (photo((160, 120), seed) for seed in range(pictures))
    return encode(first, "MPO", save_all=True, append_images=others, progressive=progressive)


def jpeg_of_scans(times: int) -> bytes:
    """A progressive JPEG with so many scans more than it needs, before its end."""
    plain = jpeg(progressive=True)
    return plain[:-2] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x10" * times + plain[-2:]


def png_chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_with(kind: bytes, data: bytes, times: int = 1) -> bytes:
    """A valid PNG with one more chunk, or many, right after its header."""
    plain = encode(photo((64, 64)), "PNG")
    return plain[:33] + png_chunk(kind, data) * times + plain[33:]


def png_of_size(width: int, height: int) -> bytes:
    """The header of a PNG that claims to be this large, and next to nothing behind it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + png_chunk(b"IHDR", header)
        + png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + png_chunk(b"IEND", b"")
    )


def text_bomb() -> bytes:
    """A PNG whose compressed text inflates to 200 MB."""
    return png_with(b"zTXt", b"Comment\0\0" + zlib.compress(b"a" * 200_000_000, 9))


def animated_gif() -> bytes:
    """Two frames: the first red, the second blue."""
    frames = [Image.new("RGB", (300, 300), colour) for colour in ("red", "blue")]
    return encode(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=100)
