"""Zips made on the spot: the good, the odd and the hostile. Every test that needs a zip takes it from here.

`of` is for good ones. `build` writes what it is told, true or not: each value of a `Member` may be a lie.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STORED, DEFLATED, DEFLATE64, BZIP2, LZMA = 0, 8, 9, 12, 14
ENCRYPTED, STREAMED, UTF8 = 0x1, 0x8, 0x800
LINK = 0o120777 << 16
UNIX = 3 << 8
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """One entry. What is None is told as it is; `name` as bytes is written without the UTF-8 flag."""

    name: str | bytes
    data: bytes = b""
    method: int = DEFLATED
    flags: int = 0
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    offset: int | None = None
    extra: bytes = b""
    local_extra: bytes = b""
    comment: bytes = b""
    attributes: int = 0
    made_by: int = UNIX
    wide: bool = False
    """Sizes and offset in a zip64 field, whether or not they would fit."""

    @property
    def raw_name(self) -> bytes:
        return self.name.encode() if isinstance(self.name, str) else self.name

    @property
    def raw_flags(self) -> int:
        return self.flags | (UTF8 if isinstance(self.name, str) and not self.name.isascii() else 0)

    def pack(self) -> bytes:
        """The data as the zip holds it."""
        if self.packed is not None:
            return self.packed
        return deflate(self.data) if self.method == DEFLATED else self.data


def of(files: Mapping[str, bytes], method: int = STORED) -> bytes:
    """A plain good zip of these files, in this order."""
    return build([Member(name, data, method) for name, data in files.items()])


def many(count: int, data: bytes = b"x", *, prefix: bytes = b"", wide: bool = False) -> bytes:
    """`count` small stored entries `000000.jpg` …."""
    members = [Member(f"{number:06d}.jpg", data, STORED) for number in range(count)]
    return build(members, prefix=prefix, wide=wide)


def build(
    members: Sequence[Member],
    *,
    comment: bytes = b"",
    prefix: bytes = b"",
    suffix: bytes = b"",
    gap: bytes = b"",
    wide: bool = False,
    count: int | None = None,
    directory_size: int | None = None,
    disk: int = 0,
) -> bytes:
    """The zip. `gap` lies before the directory; `wide` adds zip64's end records; the others are told as they are given.

    More than 65,535 entries without `wide` wrap around, as some programs let them.
    """
    body, directory = bytearray(), bytearray()
    for member in members:
        offset = len(body)
        body += local_record(member)
        directory += _directory_record(member, offset)
    body += gap
    end = _end(
        len(members) if count is None else count,
        len(directory) if directory_size is None else directory_size,
        len(body),
        comment,
        disk,
        body_end=len(body) + len(directory) if wide else None,
    )
    return prefix + bytes(body) + bytes(directory) + end + suffix


def deflate(data: bytes, level: int = 6) -> bytes:
    """A raw deflate stream."""
    packer = zlib.compressobj(level, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def local_record(member: Member) -> bytes:
    """Local header, data and, for a streamed member, the descriptor behind it."""
    packed, crc = member.pack(), zlib.crc32(member.data) if member.crc is None else member.crc
    streamed = member.flags & STREAMED
    told = (0, 0, 0) if streamed else (crc, len(packed), _size(member))
    header = struct.pack(
        "<4s5H3L2H", b"PK\3\4", 20, member.raw_flags, member.method, 0, 0x21, *(min(value, _MAX32) for value in told),
        len(member.raw_name), len(member.local_extra),
    )  # fmt: skip
    descriptor = struct.pack("<4s3L", b"PK\7\10", crc, len(packed), _size(member)) if streamed else b""
    return header + member.raw_name + member.local_extra + packed + descriptor


def _size(member: Member) -> int:
    return len(member.data) if member.size is None else member.size


def _directory_record(member: Member, offset: int) -> bytes:
    crc = zlib.crc32(member.data) if member.crc is None else member.crc
    packed = len(member.pack()) if member.packed_size is None else member.packed_size
    offset = offset if member.offset is None else member.offset
    size, extra = _size(member), member.extra
    if member.wide:
        extra = struct.pack("<2H3Q", 1, 24, size, packed, offset) + extra
        size = packed = offset = _MAX32
    header = struct.pack(
        "<4s6H3L5H2L", b"PK\1\2", member.made_by | 20, 20, member.raw_flags, member.method, 0, 0x21, crc, packed, size,
        len(member.raw_name), len(extra), len(member.comment), 0, 0, member.attributes, offset,
    )  # fmt: skip
    return header + member.raw_name + extra + member.comment


def _end(count: int, size: int, offset: int, comment: bytes, disk: int, body_end: int | None) -> bytes:
    records = b""
    if body_end is not None:
        records = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, disk, disk, count, count, size, offset)
        records += struct.pack("<4sLQL", b"PK\6\7", 0, body_end, 1)
        count, size, offset = _MAX16, _MAX32, _MAX32
    told = (count & _MAX16, count & _MAX16, size, offset, len(comment))
    return records + struct.pack("<4s4H2LH", b"PK\5\6", disk, disk, *told) + comment


def zipcrypto(member: Member, password: bytes = b"secret") -> Member:
    """The member, encrypted the old way, as most programs still do."""
    keys, table = [0x12345678, 0x23456789, 0x34567890], _crc_table()

    def feed(byte: int) -> None:
        keys[0] = (keys[0] >> 8) ^ table[(keys[0] ^ byte) & 0xFF]
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & _MAX32
        keys[2] = (keys[2] >> 8) ^ table[(keys[2] ^ (keys[1] >> 24)) & 0xFF]

    for byte in password:
        feed(byte)
    sealed = bytearray()
    for byte in bytes(11) + bytes([zlib.crc32(member.data) >> 24]) + member.pack():
        mask = keys[2] | 2
        sealed.append(byte ^ ((mask * (mask ^ 1) >> 8) & 0xFF))
        feed(byte)
    return Member(member.name, member.data, member.method, member.flags | ENCRYPTED, packed=bytes(sealed))


def _crc_table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0xEDB88320 if value & 1 else 0)  # noqa: PLW2901
        table.append(value)
    return table


def quoted_overlap(count: int, kernel_bytes: int) -> bytes:
    """Fifield's bomb: each file quotes the next one's header, and all end in one kernel of zeros that they share."""
    kernel = bytes(kernel_bytes)
    packed, data = deflate(kernel, 9), kernel
    members = [Member(f"{count - 1:04d}.bmp", data, packed=packed)]
    for number in reversed(range(count - 1)):
        header = local_record(members[0])[: 30 + len(members[0].raw_name)]
        # A stored block around the next file's header; what follows the block is that file's own stream.
        packed = struct.pack("<BHH", 0, len(header), len(header) ^ _MAX16) + header + packed
        data = header + data
        members.insert(0, Member(f"{number:04d}.bmp", data, packed=packed))
    body, offset, directory = local_record(members[0]), 0, b""
    for member in members:
        directory += _directory_record(member, offset)
        offset += 30 + len(member.raw_name) + 5
    return body + directory + _end(count, len(directory), len(body), b"", 0, None)


class Ranges:
    """A zip that is read by ranges; counts what was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, end: int) -> bytes:
        assert 0 <= start < end, f"nobody answers bytes {start} to {end}"
        self.asked.append((start, end))
        return self.data[start:end]

    @property
    def bytes_read(self) -> int:
        return sum(min(end, len(self.data)) - start for start, end in self.asked)
