"""What is refused for its number of pieces, and what honest files hold that only looks like it."""

from __future__ import annotations

import pytest

from contract import pieces
from contract.pieces import most_exceeded
from tests import pictures

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SCAN = b"\xff\xda\x00\x08\x01\x01\x00\x00\x00\x10"


def segment(marker: int, content: bytes = b"") -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


HEADER = SOI + segment(0xE0, b"JFIF\0")


def with_thumbnail(preview: bytes) -> bytes:
    """A progressive JPEG that carries another one within a segment, as EXIF has it."""
    plain = pictures.jpeg(progressive=True)
    return plain[:2] + segment(0xE1, b"Exif\0\0" + preview) + plain[2:]


@pytest.mark.parametrize(
    "data",
    [
        pictures.motion_photo(),
        pictures.mpo(12),
        pictures.jpeg(progressive=True),
        with_thumbnail(SOI + SCAN * 200 + EOI),
        HEADER + segment(0xE1, b"\xff\xda" * 30_000) + pictures.jpeg()[2:],
        HEADER + SCAN + b"\xff\0\xda" * 500 + b"\xff\xd0\xda" * 500 + EOI + SCAN * 200,
        pictures.jpeg() + b"\xff" * 25_000_000,
        pictures.encode(pictures.photo(), "PNG") + b"\0" * 300_000,
        pictures.encode(pictures.photo(), "WEBP") + SCAN * 200,
        b"",
    ],
    ids=["film", "mpo", "progressive", "preview", "profile", "stuffed", "behind", "png", "webp", "empty"],
)
def test_what_honest_files_hold_is_not_counted(data: bytes) -> None:
    assert most_exceeded(data) is None


@pytest.mark.parametrize(
    ("data", "most"),
    [
        (HEADER + SCAN * 101 + EOI, 100),
        (HEADER + SCAN * 101, 100),
        (HEADER + SCAN * 101 + b"\xff", 100),
        (HEADER + (SCAN + b"\x12\xff\0\xff\xd7\x34") * 101 + EOI, 100),
        (HEADER + (SCAN + segment(0xC4, b"table")) * 101 + EOI, 100),
        (HEADER + SCAN + (b"\xff\xff" + SCAN[1:]) * 100 + EOI, 100),
        (HEADER + EOI + SCAN * 101, 100),
        (pictures.jpeg()[:2000] + SCAN * 101, 100),
        (HEADER + segment(0xE2) * 20_001 + pictures.jpeg()[2:], 20_000),
        (HEADER + (SCAN + segment(0xFE) * 300) * 80 + SCAN * 21, 20_000),
        (HEADER + segment(0xFE) * 20_001, 20_000),
        (SOI + b"\xff" * 25_000_000, 1_000_000),
        (HEADER + b"\0" * 1_000_001 + pictures.jpeg()[2:], 1_000_000),
        (HEADER + b"\xff\xd0" * 500_001 + pictures.jpeg()[2:], 1_000_000),
        (pictures.png_with(b"tEXt", b"a\0b", times=20_001), 20_000),
    ],
    ids=[
        "scans", "no end", "cut short", "restarts", "tables", "filled up", "end before the first", "within a picture",
        "segments", "segments between scans", "nothing else", "ones", "zeros", "restarts before", "chunks",
    ],
)  # fmt: skip
def test_what_decoders_would_read_is_counted(data: bytes, most: int) -> None:
    assert most_exceeded(data) == most


def test_a_length_beyond_the_file_ends_the_count() -> None:
    assert most_exceeded(HEADER + b"\xff\xe1\xff\xff" + SCAN * 101) is None  # no decoder gets there either


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\xd0", b"\xff\x01", b"\xff\0", b"\0"])
def test_hostile_data_is_passed_in_few_steps(filling: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = []

    def counting(data: bytes, position: int) -> int:
        steps.append(position)
        return found(data, position)

    found = pieces._next_marker
    monkeypatch.setattr(pieces, "_next_marker", counting)
    filled = filling * (25_000_000 // len(filling))
    assert most_exceeded(HEADER + SCAN * 50 + filled + SCAN * 50 + EOI + SCAN * 50) is None
    assert 100 < len(steps) < 110


@pytest.mark.parametrize("length", [*range(60, 68), *range(189, 195), 1_048_574, 2_000_000])
def test_a_marker_is_found_wherever_it_lies(length: int) -> None:
    assert list(pieces._markers(SOI + b"\0" * length + EOI)) == [(0xD9, length), (0xD9, 0)]
