from __future__ import annotations

import io
import random
from pathlib import Path

import pytest
from PIL import Image

import contract.pieces
from frontend import pieces
from frontend.thumbnails import LONG_SIDE, thumbnail
from tests.pictures import encode, jpeg, jpeg_of_scans, motion_photo, photo, png_of_size, png_with


def opened(data: bytes | None) -> Image.Image:
    assert data is not None
    return Image.open(io.BytesIO(data))


def test_small_upright_jpeg() -> None:
    small = opened(thumbnail(jpeg((4000, 3000))))
    assert (small.format, small.size) == ("JPEG", (LONG_SIDE, LONG_SIDE * 3 // 4))


def test_a_small_picture_is_not_enlarged() -> None:
    assert opened(thumbnail(jpeg((40, 30)))).size == (40, 30)


def test_orientation_is_honoured_and_metadata_dropped() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera"
    turned = opened(thumbnail(jpeg((40, 30), exif=exif)))
    assert turned.size == (30, 40)
    assert dict(turned.getexif()) == {}


def test_transparency_is_shown_over_white() -> None:
    clear = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert opened(thumbnail(encode(clear, "PNG"))).getpixel((4, 4)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK", "I;16"])
def test_other_modes_are_shown(mode: str) -> None:
    image = (
        Image.new("I;16", (16, 12))
        if mode == "I;16"
        else photo((16, 12)).convert("L" if mode == "LA" else "RGB").convert(mode)
    )
    assert opened(thumbnail(encode(image, "JPEG" if mode == "CMYK" else "PNG"))).mode == "RGB"


@pytest.mark.parametrize("size", [(1, 1), (20000, 1)])
def test_extreme_shapes_are_shown(size: tuple[int, int]) -> None:
    assert opened(thumbnail(encode(Image.new("RGB", size), "PNG"))).size[1] == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        jpeg()[:2000],
        png_of_size(60_000, 60_000),
        png_with(b"zTXt", b"k\0\0" + b"x" * 50),
        random.Random(1).randbytes(4096),
    ],
    ids=["empty", "text", "truncated", "huge", "bad text chunk", "noise"],
)
def test_what_cannot_be_shown_is_none_or_a_picture_but_never_an_error(data: bytes) -> None:
    assert thumbnail(data) is None or opened(thumbnail(data)).format == "JPEG"


@pytest.mark.parametrize("data", [jpeg_of_scans(100), png_with(b"tEXt", b"a\0b", times=20_001)])
def test_a_file_of_countless_pieces_has_no_preview(data: bytes) -> None:
    assert thumbnail(data) is None


def test_a_phones_picture_with_a_film_behind_it_has_one() -> None:
    assert opened(thumbnail(motion_photo())).size == opened(thumbnail(jpeg())).size


def test_pieces_are_counted_as_the_server_counts_them() -> None:
    assert Path(pieces.__file__).read_text() == Path(contract.pieces.__file__).read_text()
