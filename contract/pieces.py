"""Of how many pieces a file is put together: what makes a small one take minutes is refused before it is decoded.

A JPEG's scans and segments and a PNG's chunks are counted as decoders come to them, to the end of the picture and no
further: behind it phones keep films, depths and second pictures, in which any bytes may be found.

This file is there twice, in contract/ and, to the letter, in frontend/, which has nothing of the server's.
"""

from __future__ import annotations

from collections.abc import Iterator

__all__ = ["most_exceeded"]

# What honest encoders stay far below.
_MOST_SCANS = 100
_MOST_SEGMENTS = 20_000
_MOST_CHUNKS = 20_000
_MOST_SKIPPED = 1_000_000  # bytes before the first scan that belong to no segment: Pillow passes them one by one

_PNG = b"\x89PNG\r\n\x1a\n"

# The markers that end a scan's data. Restarts do not, nor does a 0xFF of the data itself, which a zero follows.
_ENDING = frozenset({*range(0xC0, 0xD0), *range(0xD8, 0xFF)})
_END, _SCAN = 0xD9, 0xDA
_WITHOUT_LENGTH = frozenset({0xC8, 0xD8, _END, *range(0xF0, 0xFE)})


def most_exceeded(data: bytes) -> int | None:
    """How many pieces of a kind there may be, where there are more; None: it is no such file.

    Takes time in proportion to the file, whatever it holds.
    """
    if data[:3] == b"\xff\xd8\xff":
        return _exceeded_by_jpeg(data)
    return _MOST_CHUNKS if data[:8] == _PNG and _chunks(data) > _MOST_CHUNKS else None


def _exceeded_by_jpeg(data: bytes) -> int | None:
    few_scans = data.count(bytes((0xFF, _SCAN))) <= _MOST_SCANS  # wherever they are; of most files this is enough
    scans = skipped = 0
    for segments, (marker, between) in enumerate(_markers(data), start=1):
        if scans and marker == _END:
            break
        skipped += 0 if scans else between
        scans += marker == _SCAN
        for count, most in ((scans, _MOST_SCANS), (segments, _MOST_SEGMENTS), (skipped, _MOST_SKIPPED)):
            if count > most:
                return most
        if scans and few_scans:
            break
    return None


def _markers(data: bytes) -> Iterator[tuple[int, int]]:
    """A JPEG's markers, and how many bytes each is behind the segment before it; the file's end counts as one."""
    position = 2
    while (found := _next_marker(data, position)) >= 0:
        marker = data[found + 1]
        yield marker, found - position
        position = found + 2
        if marker not in _WITHOUT_LENGTH:
            position += max(2, int.from_bytes(data[position : position + 2], "big"))
    yield _END, max(0, len(data) - position)


_KINDS = bytes(1 if byte == 0xFF else 2 if byte in _ENDING else 0 for byte in range(256))
_WIDEST = 1 << 20


def _next_marker(data: bytes, position: int) -> int:
    """Where it begins, or -1. In pieces, mostly a short one: no other thread of Python runs within one."""
    width = 64
    while position < len(data):
        found = data[position : position + width + 1].translate(_KINDS).find(b"\1\2")
        if found >= 0:
            return position + found
        position += width
        width = min(2 * width, _WIDEST)
    return -1


def _chunks(data: bytes) -> int:
    """The chunks of a PNG; no further than one more than may be."""
    count, position = 0, len(_PNG)
    while position + 8 <= len(data) and count <= _MOST_CHUNKS:
        count += 1
        if data[position + 4 : position + 8] == b"IEND":
            break
        position += 12 + int.from_bytes(data[position : position + 4], "big")
    return count
