"""A zip's directory, read by ranges: which entries there are, which can be read, and why not. Standard library only.

    tail ──> end record ──> directory ──> [Entry] ──> plan_shards ──> ranges ──> extract
         BadZip: not_a_zip, truncated_zip, …   BadZip: damaged_directory, zip_bomb, …   BadEntry: wrong_crc, …

The whole zip is never held: a directory of 100,000 entries is some megabytes, and one entry has at most 25 MB.
`zipfile` would read the same directory, but it gives up a whole zip for one name that is not what its flag says, holds
whatever the directory claims to need, and tells nothing about where an entry ends. Tests hold this to `zipfile`.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

__all__ = [
    "BadEntry", "BadZip", "Entry", "Range", "ShardPlan", "ZipLimits", "extract", "plan_shards", "ranges",
    "read_directory", "skip_reason",
]  # fmt: skip

Read = Callable[[int, int], bytes]
"""`read(start, end)` returns the zip's bytes [start, end)."""

SHARD_BYTES = 16 << 20
SHARD_IMAGES = 128
SHARD_ROWS_BYTES = 2 << 20

_TAIL_BYTES = 1 << 20  # the end record, its longest comment, and most directories: one request
_ROW_BYTES = 200  # the longest row of what is not fetched, but for its name
_CHARACTER_BYTES = 6  # JSON's longest way to write one of a name: \u0001
_RANGE_BYTES = 8 << 20
_GAP_BYTES = 64 << 10
_LONGEST_FIELD = 0xFFFF
_END, _END64, _LOCATOR64 = b"PK\5\6", b"PK\6\6", b"PK\6\7"
_END_STRUCT = struct.Struct("<4s4H2LH")
_END64_STRUCT = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64_STRUCT = struct.Struct("<4sLQL")
_ENTRY_STRUCT = struct.Struct("<4s6H3L5H2L")
_LOCAL_STRUCT = struct.Struct("<4s5H3L2H")
_MAX16, _MAX32 = 0xFFFF, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _UTF8 = 0x1, 0x800
_UNIX, _KIND, _SYMLINK = 3, 0o170000, 0o120000
_METHODS = {6: "implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}
_SYSTEM_FILES = frozenset({".ds_store", "thumbs.db", "desktop.ini"})


class BadZip(Exception):
    """A zip that is refused as a whole: a stable `code`, and a `message` that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class BadEntry(Exception):
    """An entry whose bytes cannot be had: a stable `code`, and a `message` that says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True)
class ZipLimits:
    """What is refused before anything is paid for. Sizes in bytes; `max_ratio` is unpacked to packed."""

    max_bytes: int = 500_000_000
    max_entries: int = 100_000
    max_entry_bytes: int = 25_000_000
    max_total_bytes: int = 20_000_000_000
    max_ratio: int = 100
    max_directory_bytes: int = 32_000_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One position of the directory. Its bytes, local header included, lie within [offset, end) of the zip.

    `reason`: why it is skipped; `error`: (code, message) where the directory alone tells that it cannot be read.
    """

    index: int
    name: str
    offset: int
    end: int
    packed_bytes: int
    size_bytes: int
    method: int
    crc: int
    reason: str | None = None
    error: tuple[str, str] | None = None

    @property
    def readable(self) -> bool:
        """Whether it is worth fetching."""
        return self.reason is None and self.error is None


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """Shard `number` holds the entries [first, last) of the directory."""

    number: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Range:
    """Neighbours that are fetched by one request, [start, end) of the zip."""

    start: int
    end: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class _End:
    """Where the directory is: `entries` None where the record's 16 bits could not tell more than 65,535."""

    start: int
    size: int
    entries: int
    shift: int
    wide: bool


@dataclass(frozen=True, slots=True)
class _Raw:
    """An entry as the directory has it."""

    name: str
    offset: int
    packed: int
    size: int
    method: int
    crc: int
    flags: int
    is_link: bool
    name_bytes: int


def read_directory(read: Read, size: int, limits: ZipLimits = ZipLimits()) -> list[Entry]:
    """All entries, in the directory's order, of a zip of `size` bytes. Raises BadZip, and what `read` raises."""
    _check_size(size, limits)
    tail_start = max(size - _TAIL_BYTES, 0)
    tail = read(tail_start, size)
    end = _find_end(read, tail, tail_start, size)
    if end.entries > limits.max_entries:
        raise _too_many(limits, end.entries)
    if end.size > limits.max_directory_bytes:
        raise BadZip(
            "directory_too_large",
            f"The zip's directory has {end.size / 1e6:.0f} MB; {limits.max_directory_bytes / 1e6:.0f} MB is the most. "
            "Shorten the names, or split the zip.",
        )
    stop = end.start + end.size
    directory = tail[end.start - tail_start : stop - tail_start] if end.start >= tail_start else read(end.start, stop)
    raws = list(_walk(directory, end, limits))
    entries = _placed(raws, end.start, limits)
    _check_bomb(entries, size, limits)
    _check_worth(entries)
    return entries


def extract(entry: Entry, blob: bytes | memoryview) -> bytes:
    """The entry's content, at most `entry.size_bytes`, from the zip's bytes [entry.offset, entry.end).

    Raises BadEntry: damaged_entry, wrong_size, wrong_crc.
    """
    if len(blob) < _LOCAL_STRUCT.size or bytes(blob[:4]) != b"PK\3\4":
        raise BadEntry("damaged_entry", "The zip has no such file where its directory says. Make the zip anew.")
    name, extra = _LOCAL_STRUCT.unpack_from(blob)[-2:]
    start = _LOCAL_STRUCT.size + name + extra
    packed = blob[start : start + entry.packed_bytes]
    if len(packed) < entry.packed_bytes:
        raise BadEntry("damaged_entry", "The file breaks off within the zip. Make the zip anew.")
    content = bytes(packed) if entry.method == _STORED else _inflate(packed, entry.size_bytes)
    if len(content) != entry.size_bytes:
        raise BadEntry("wrong_size", "The file is not as long as the zip's directory says. Make the zip anew.")
    if zlib.crc32(content) != entry.crc:
        raise BadEntry("wrong_crc", "The file was damaged within the zip: its checksum is wrong. Make the zip anew.")
    return content


def plan_shards(entries: Sequence[Entry]) -> list[ShardPlan]:
    """Cuts the directory into shards by bytes, images and length of rows. The plan depends on the zip alone."""
    shards: list[ShardPlan] = []
    first = packed = images = rows = 0
    for position, entry in enumerate(entries):
        cost = entry.packed_bytes if entry.readable else 0
        row = _ROW_BYTES + _CHARACTER_BYTES * len(entry.name)
        full = (images and packed + cost > SHARD_BYTES) or rows + row > SHARD_ROWS_BYTES
        if full or images + entry.readable > SHARD_IMAGES:
            shards.append(ShardPlan(len(shards), first, position))
            first, packed, images, rows = position, 0, 0, 0
        packed, images, rows = packed + cost, images + entry.readable, rows + row
    return [*shards, ShardPlan(len(shards), first, len(entries))] if entries else []


def ranges(entries: Sequence[Entry], most: int = _RANGE_BYTES) -> list[Range]:
    """The requests that bring all readable entries: neighbours together up to `most` bytes; one entry may have more."""
    found: list[Range] = []
    group: list[Entry] = []
    for entry in sorted((entry for entry in entries if entry.readable), key=lambda entry: entry.offset):
        if group and (entry.end - group[0].offset > most or entry.offset - group[-1].end > _GAP_BYTES):
            found.append(Range(group[0].offset, group[-1].end, tuple(group)))
            group = []
        group.append(entry)
    return [*found, Range(group[0].offset, group[-1].end, tuple(group))] if group else found


def skip_reason(name: str, *, is_link: bool = False) -> str | None:
    """Why an entry of this name is no picture of the person's at all; None where it may be one."""
    path = name.replace("\\", "/")
    base = path.rsplit("/", 1)[-1].lower()
    if path.endswith("/"):
        return "folder"
    if path.startswith("__MACOSX/") or "/__MACOSX/" in path or base.startswith("._"):
        return "macos_metadata"
    if base in _SYSTEM_FILES:
        return "system_file"
    if is_link:
        return "link"
    return "nested_zip" if base.endswith(".zip") else None


# -- the end record ----------------------------------------------------------------------------------------------


def _check_size(size: int, limits: ZipLimits) -> None:
    if size > limits.max_bytes:
        raise BadZip(
            "zip_too_large",
            f"The zip has {size / 1e6:.0f} MB; {limits.max_bytes / 1e6:.0f} MB is the most. Split it into several.",
        )
    if not size:
        raise BadZip(
            "empty_file", "The file is empty. Send it again; it may not have been saved or uploaded completely."
        )


def _find_end(read: Read, tail: bytes, tail_start: int, size: int) -> _End:
    position = _end_position(tail)
    if position < 0:
        _check_start(read(0, min(size, 4)))
        raise BadZip("not_a_zip", "The file is no zip archive, whatever its name says. Make a zip of the pictures.")
    _, disk, first_disk, _, entries, length, offset, _ = _END_STRUCT.unpack_from(tail, position)
    place = tail_start + position
    wide = _end64(read, tail, tail_start, position)
    if wide is not None:
        place, disk, first_disk, entries, length, offset = wide
    if disk or first_disk:
        raise _volume()
    # What was put in front of a zip (a self-extractor, say) shifts every offset in it.
    shift = place - length - offset
    if shift < 0:
        raise BadZip(
            "truncated_zip", "The zip's directory does not lie where the zip says: parts are missing. Send it again."
        )
    if shift:  # what is in front may be a zip that was cut short, right within a zip that it holds
        _check_start(read(0, 4))
    if not entries and not length:
        raise BadZip("empty_zip", "There is nothing in the zip. Make a zip of the pictures.")
    return _End(place - length, length, entries, shift, wide is not None)


def _check_start(head: bytes) -> None:
    """Refuses what begins as a zip and does not end as that zip."""
    if head in (b"PK\3\4", b"PK\5\6"):
        raise BadZip(
            "truncated_zip", "The zip breaks off before its directory: it was cut short. Send it again, whole."
        )
    if head == b"PK\7\10":
        raise _volume()


def _end_position(tail: bytes) -> int:
    """Where the end record begins: the last one whose comment reaches the file's end, else simply the last one."""
    last = position = tail.rfind(_END, 0, max(len(tail) - _END_STRUCT.size + 4, 0))
    while position >= 0 and len(tail) - position <= _END_STRUCT.size + _LONGEST_FIELD:
        if position + _END_STRUCT.size + _END_STRUCT.unpack_from(tail, position)[-1] == len(tail):
            return position
        position = tail.rfind(_END, 0, position)
    return last


def _end64(read: Read, tail: bytes, tail_start: int, position: int) -> tuple[int, int, int, int, int, int] | None:
    """(place, disk, directory's disk, entries, length, offset) by the zip64 record in front of the end record."""
    locator = position - _LOCATOR64_STRUCT.size
    if locator < 0 or tail[locator : locator + 4] != _LOCATOR64:
        return None
    named = _LOCATOR64_STRUCT.unpack_from(tail, locator)[2]
    # Where it says, or, if something was put in front of the zip, right before its locator.
    for place in (named, tail_start + locator - _END64_STRUCT.size):
        stop = place + _END64_STRUCT.size
        if stop > tail_start + locator or place < 0:
            continue
        record = tail[place - tail_start : stop - tail_start] if place >= tail_start else read(place, stop)
        if len(record) == _END64_STRUCT.size and record[:4] == _END64:
            fields = _END64_STRUCT.unpack(record)
            return (place, fields[4], fields[5], fields[7], fields[8], fields[9])
    raise BadZip("damaged_directory", "The zip's zip64 record is missing. Make the zip anew.")


# -- the directory -----------------------------------------------------------------------------------------------


def _walk(directory: bytes, end: _End, limits: ZipLimits) -> Iterator[_Raw]:
    position = count = 0
    while position < len(directory):
        if count >= limits.max_entries:
            raise _too_many(limits)
        if len(directory) - position < _ENTRY_STRUCT.size or directory[position : position + 4] != b"PK\1\2":
            raise _damaged()
        raw, position = _read_raw(directory, position, end.shift)
        count += 1
        yield raw
    # Sixteen bits wrap around; some programs let them.
    if count != end.entries and (end.wide or count & _MAX16 != end.entries):
        raise _damaged()


def _read_raw(directory: bytes, position: int, shift: int) -> tuple[_Raw, int]:
    fields = _ENTRY_STRUCT.unpack_from(directory, position)
    _, made_by, _, flags, method, _, _, crc, packed, size, name_bytes, extra_bytes, comment_bytes = fields[:13]
    attributes, offset = fields[15:17]
    start = position + _ENTRY_STRUCT.size
    stop = start + name_bytes + extra_bytes
    if stop + comment_bytes > len(directory):
        raise _damaged()
    size, packed, offset = _wide_values(directory[start + name_bytes : stop], size, packed, offset)
    is_link = made_by >> 8 == _UNIX and (attributes >> 16) & _KIND == _SYMLINK
    name = _name(directory[start : start + name_bytes])
    raw = _Raw(name, offset + shift, packed, size, method, crc, flags, is_link, name_bytes)
    return raw, stop + comment_bytes


def _wide_values(extra: bytes, *values: int) -> list[int]:
    """size, packed size and offset, with those that did not fit into 32 bits from the zip64 field."""
    if _MAX32 not in values:
        return list(values)
    position = 0
    while position + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, position)
        if kind == 1 and length >= 8 * values.count(_MAX32) and position + 4 + length <= len(extra):
            wide = iter(struct.unpack_from(f"<{length // 8}Q", extra, position + 4))
            return [next(wide) if value == _MAX32 else value for value in values]
        position += 4 + length
    raise _damaged()


def _name(raw: bytes) -> str:
    """UTF-8 where the bytes are UTF-8, whatever the flag says (Macs do not set it); else the format's own code page."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return raw.decode("cp437")


def _placed(raws: Sequence[_Raw], directory_start: int, limits: ZipLimits) -> list[Entry]:
    """The entries with their ends. Raises BadZip where two share bytes: that is how small zips unpack to petabytes."""
    order = sorted(range(len(raws)), key=lambda index: raws[index].offset)
    ends = [0] * len(raws)
    for index, following in zip(order, [*order[1:], None], strict=True):
        raw, limit = raws[index], directory_start if following is None else raws[following].offset
        if raw.offset + _LOCAL_STRUCT.size + raw.name_bytes + raw.packed > limit:
            if following is None:
                raise _damaged()
            raise BadZip("overlapping_entries", f"Files in the zip overlap ({raw.name[:60]!r}). Make the zip anew.")
        ends[index] = min(limit, raw.offset + _LOCAL_STRUCT.size + 2 * _LONGEST_FIELD + raw.packed)
    return [_entry(index, raw, ends[index], limits) for index, raw in enumerate(raws)]


def _entry(index: int, raw: _Raw, end: int, limits: ZipLimits) -> Entry:
    reason = skip_reason(raw.name, is_link=raw.is_link)
    error = None if reason else _error(raw, limits)
    return Entry(
        index, raw.name, raw.offset, end, raw.packed, raw.size, raw.method, raw.crc, reason=reason, error=error
    )


def _error(raw: _Raw, limits: ZipLimits) -> tuple[str, str] | None:
    if raw.flags & _ENCRYPTED:
        return "encrypted", "The file is encrypted. Make the zip anew without a password."
    if raw.method not in (_STORED, _DEFLATED):
        method = _METHODS.get(raw.method, f"number {raw.method}")
        return (
            "unsupported_compression",
            f"The file is packed by an unsupported method ({method}). Make the zip with the usual one, deflate.",
        )
    # Whoever fetches an entry holds what is packed, too; deflate makes what does not shrink a little larger.
    largest = max(raw.size, raw.packed - raw.packed // 100)
    if largest > limits.max_entry_bytes:
        most = f"{limits.max_entry_bytes / 1e6:.0f} MB is the most"
        return "too_many_bytes", f"The file has {largest / 1e6:.1f} MB; {most}. Send a smaller copy."
    return None


def _check_bomb(entries: Sequence[Entry], size: int, limits: ZipLimits) -> None:
    total = sum(entry.size_bytes for entry in entries if entry.readable)
    # A few blank bitmaps are no attack: what unpacks to less than the largest zip is never refused for its ratio.
    if total > limits.max_total_bytes or (total > limits.max_bytes and total > limits.max_ratio * size):
        raise BadZip(
            "zip_bomb",
            f"The zip has {size / 1e6:.1f} MB and would unpack to {total / 1e9:.1f} GB, {total / size:.0f} times as "
            f"much; {limits.max_total_bytes / 1e9:.0f} GB and {limits.max_ratio} times are the most. Split it.",
        )


def _check_worth(entries: Sequence[Entry]) -> None:
    if any(entry.readable for entry in entries):
        return
    error = next((entry.error for entry in entries if entry.error), None)
    if error:
        raise BadZip(error[0], f"Not one of the {len(entries)} files in the zip can be read. {error[1]}")
    raise BadZip(
        "no_pictures",
        f"The zip has {len(entries)} entries and no picture: folders, system files, links and nested zips are skipped. "
        "Make a zip of the pictures themselves.",
    )


def _inflate(packed: bytes | memoryview, size: int) -> bytes:
    """One byte more than announced at the most, whatever the data would yield."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, size + 1)
    except zlib.error as error:
        raise BadEntry("damaged_entry", "The file was damaged within the zip. Make the zip anew.") from error


def _too_many(limits: ZipLimits, count: int | None = None) -> BadZip:
    have = f"{count:,}" if count else f"more than {limits.max_entries:,}"
    return BadZip(
        "too_many_entries", f"The zip has {have} entries; {limits.max_entries:,} is the most. Split it into several."
    )


def _volume() -> BadZip:
    return BadZip("multi_volume", "The zip is one volume of several. Make one zip of the pictures, in one file.")


def _damaged() -> BadZip:
    return BadZip("damaged_directory", "The zip's directory is damaged. Make the zip anew, or send it again.")
