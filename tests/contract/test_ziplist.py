"""A zip's directory by ranges: Python's own zipfile agrees, and nothing that is bad or hostile gets through."""

import io
import itertools
import random
import struct
import subprocess
import sys
import time
import tracemalloc
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contract.batches import dump
from contract.shards import error_row, skipped_row
from contract.ziplist import (
    BadEntry,
    BadZip,
    Entry,
    ShardPlan,
    ZipLimits,
    extract,
    plan_shards,
    ranges,
    read_directory,
)
from tests import pictures, zips
from tests.zips import Member, Ranges

ROOT = Path(__file__).parents[2]
MEGABYTE = 1 << 20


def directory(data: bytes, **limits: int) -> list[Entry]:
    return read_directory(Ranges(data), len(data), ZipLimits(**limits))


def content(data: bytes, entry: Entry) -> bytes:
    return extract(entry, memoryview(data)[entry.offset : entry.end])


def refusal(data: bytes, **limits: int) -> BadZip:
    with pytest.raises(BadZip) as caught:
        directory(data, **limits)
    assert says_what_to_do(caught.value.message), caught.value.message
    return caught.value


def broken(data: bytes, entry: Entry) -> str:
    with pytest.raises(BadEntry) as caught:
        content(data, entry)
    assert says_what_to_do(caught.value.message), caught.value.message
    return caught.value.code


def says_what_to_do(message: str) -> bool:
    return any(word in message for word in ("Make ", "Send ", "Split ", "split "))


# -- what zipfile says -------------------------------------------------------------------------------------------

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
CONTENTS = st.one_of(st.binary(max_size=300), st.integers(0, 70_000).map(bytes))
FILES = st.lists(
    st.tuples(NAMES, CONTENTS, st.sampled_from([zips.STORED, zips.DEFLATED]), st.binary(max_size=20), st.booleans()),
    min_size=1,
    max_size=12,
)
TEXTS = st.binary(max_size=200).filter(lambda text: b"PK" not in text)  # zipfile falls for end records there


class Unseekable(io.RawIOBase):
    """What a program writes to when it streams a zip: it cannot go back, so sizes follow the data."""

    def __init__(self) -> None:
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        self.written += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


def written_by_zipfile(files: Sequence[tuple], streamed: bool, comment: bytes) -> bytes:
    target = Unseekable() if streamed else io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:  # type: ignore[arg-type]
        for name, data, method, note, wide in files:
            info = zipfile.ZipInfo(name)
            info.compress_type, info.comment = method, note
            info.extra = struct.pack("<2H", 0xCAFE, len(note)) + note
            with archive.open(info, "w", force_zip64=wide) as member:
                member.write(data)
        archive.comment = comment
    return bytes(target.written) if isinstance(target, Unseekable) else target.getvalue()


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=100, deadline=None)
@given(FILES, st.booleans(), TEXTS, TEXTS)
def test_zipfile_agrees(files: list[tuple], streamed: bool, prefix: bytes, comment: bytes) -> None:
    files.append(("a.jpg", b"a", zips.STORED, b"", False))  # a zip of nothing that is worth reading is refused
    data = prefix + written_by_zipfile(files, streamed, comment)
    ours = directory(data)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        theirs = archive.infolist()
        assert [entry.index for entry in ours] == list(range(len(theirs)))
        for entry, info in zip(ours, theirs, strict=True):
            assert entry.name == info.filename
            assert (entry.offset, entry.packed_bytes, entry.size_bytes) == (
                info.header_offset,
                info.compress_size,
                info.file_size,
            )
            assert (entry.method, entry.crc) == (info.compress_type, info.CRC)
            assert content(data, entry) == archive.read(info)
        for one, following in itertools.pairwise(ours):
            assert one.end <= following.offset


def test_zip64_written_by_hand_is_read_and_zipfile_agrees() -> None:
    members = [Member("a.jpg", b"a" * 1000, wide=True), Member("b.jpg", b"b", zips.STORED, wide=True)]
    data = zips.build(members, wide=True, prefix=b"#!/bin/sh\n")
    assert [content(data, entry) for entry in directory(data)] == [b"a" * 1000, b"b"]
    assert zipfile.ZipFile(io.BytesIO(data)).read("a.jpg") == b"a" * 1000


def test_sizes_behind_the_data_are_taken_from_the_directory() -> None:
    data = zips.build([Member("a.jpg", b"streamed", flags=zips.STREAMED), Member("b.jpg", b"next")])
    assert [content(data, entry) for entry in directory(data)] == [b"streamed", b"next"]


def test_more_than_65535_entries_without_zip64_are_all_found() -> None:
    """The count has sixteen bits; a Mac's zips wrap around."""
    assert len(directory(zips.many(65_600))) == 65_600


@pytest.mark.parametrize(
    "comment", [b"x" * 65_535, b"PK\5\6" + bytes(40), zips.build([]) + b"!"], ids=["longest", "end record", "whole zip"]
)
def test_a_comment_is_no_end_record(comment: bytes) -> None:
    assert len(directory(zips.build([Member("a.jpg", b"a")], comment=comment))) == 1


def test_rubbish_behind_the_end_and_in_front_of_the_directory_is_passed_over() -> None:
    data = zips.build([Member("a.jpg", b"a" * 99)], suffix=b"\n" * 100, gap=b"signature", prefix=b"MZ")
    assert content(data, directory(data)[0]) == b"a" * 99


# -- how it is read ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wide", "prefix"), [(False, b"#!/bin/sh\n"), (True, b"")], ids=["wrapped", "zip64"])
def test_a_directory_of_100_000_entries_takes_three_requests(wide: bool, prefix: bytes) -> None:
    data = zips.many(100_000, bytes(100), wide=wide, prefix=prefix)
    read = Ranges(data)
    entries = read_directory(read, len(data))
    assert len(entries) == 100_000 and entries[-1].name == "099999.jpg"
    assert len(read.asked) <= 3
    assert read.bytes_read < 56 * 100_000 + MEGABYTE + 1000 < len(data)


def test_an_entry_costs_about_a_kilobyte_of_memory() -> None:
    data = zips.many(10_000, bytes(100))
    tracemalloc.start()
    read_directory(Ranges(data), len(data))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000 + MEGABYTE


def test_the_directory_of_a_small_zip_is_one_request() -> None:
    data = zips.of({"a.jpg": bytes(5 * MEGABYTE), "b.jpg": b"b"})
    read = Ranges(data)
    read_directory(read, len(data))
    assert read.asked == [(len(data) - MEGABYTE, len(data))]


def test_what_is_too_large_is_refused_before_anything_is_read() -> None:
    def never(start: int, end: int) -> bytes:
        raise AssertionError(f"{start} to {end} was read")

    with pytest.raises(BadZip) as caught:
        read_directory(never, 500_000_001)
    assert caught.value.code == "zip_too_large" and "Split it" in caught.value.message


def test_of_a_zip_as_large_as_may_be_only_the_tail_is_read() -> None:
    small = zips.of({"a.jpg": b"a"})
    hole = 500_000_000 - len(small)
    asked: list[tuple[int, int]] = []

    def sparse(start: int, end: int) -> bytes:
        asked.append((start, end))
        rest = small[max(start - hole, 0) : max(end - hole, 0)]
        return bytes(end - start - len(rest)) + rest

    assert len(read_directory(sparse, 500_000_000)) == 1
    assert asked[0] == (500_000_000 - MEGABYTE, 500_000_000) and sum(end - start for start, end in asked[1:]) <= 4


def test_what_the_reader_raises_comes_through() -> None:
    def away(start: int, end: int) -> bytes:
        raise ConnectionError("S3 is away")

    with pytest.raises(ConnectionError):
        read_directory(away, 1000)


# -- what is refused as a whole ----------------------------------------------------------------------------------

GOOD = zips.of({"a.jpg": b"a" * 500, "b.jpg": b"b" * 500})


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "empty_file"),
        (b"P", "not_a_zip"),
        (pictures.jpeg(), "not_a_zip"),
        (b"Rar!\x1a\7\0" + bytes(5000), "not_a_zip"),
        (zips.build([]), "empty_zip"),
        (zips.build([], wide=True), "empty_zip"),
        (GOOD[:-1], "truncated_zip"),
        (GOOD[:-30], "truncated_zip"),
        (GOOD[:300], "truncated_zip"),
        (GOOD[:4], "truncated_zip"),
        (GOOD[100:], "truncated_zip"),
        (GOOD[:200] + GOOD[400:], "truncated_zip"),
        (zips.build([Member("a.jpg", b"a")], disk=2), "multi_volume"),
        (zips.build([Member("a.jpg", b"a")], disk=2, wide=True), "multi_volume"),
        (b"PK\7\10" + GOOD[:700], "multi_volume"),
        (zips.build([Member("a.jpg", b"a")], wide=True).replace(b"PK\6\6", b"PK\6\0"), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a")], wide=True, count=1 << 60), "too_many_entries"),
        (zips.build([Member("a.jpg", b"a")], count=2), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a")], count=0), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a")], directory_size=10), "truncated_zip"),
        (zips.build([Member("a.jpg", b"a")], directory_size=10, prefix=b"MZ"), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a")], directory_size=1000), "truncated_zip"),
        (zips.build([Member("a.jpg", b"a", offset=70_000)]), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a", packed_size=70_000)]), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a", size=0xFFFFFFFF)]), "damaged_directory"),
        (zips.build([Member("a.jpg", b"a", wide=True, offset=1 << 63)]), "damaged_directory"),
    ],
)
def test_a_zip_that_is_none_is_refused_in_words(data: bytes, code: str) -> None:
    assert refusal(data).code == code


def test_a_zip_cut_short_right_behind_a_zip_that_it_holds_is_not_taken_for_that_one() -> None:
    inner = zips.of({"inner.jpg": b"i"})
    data = zips.of({"a.jpg": b"a" * 500, "more.zip": inner, "b.jpg": b"b"})
    end = data.index(inner) + len(inner)
    for cut in (end, end + 10):
        assert refusal(data[:cut]).code == "truncated_zip"


def test_one_entry_too_many_is_refused() -> None:
    """One fewer is read above, as zip64 and wrapped."""
    bad = refusal(zips.many(100_001, wide=True))
    assert bad.code == "too_many_entries" and "100,001" in bad.message and "100,000" in bad.message
    assert refusal(zips.many(100_001)).code == "too_many_entries"


def test_a_count_that_lies_does_not_let_more_entries_in() -> None:
    assert (
        refusal(zips.build([Member(f"{number}", b"a") for number in range(11)], count=1), max_entries=10).code
        == "too_many_entries"
    )


def test_a_directory_too_large_is_refused_before_it_is_read() -> None:
    data = zips.build([Member("n" * 60_000 + str(number), b"a") for number in range(40)])
    read = Ranges(data)
    with pytest.raises(BadZip) as caught:
        read_directory(read, len(data), ZipLimits(max_directory_bytes=2_000_000))
    assert caught.value.code == "directory_too_large" and "Shorten the names" in caught.value.message
    assert read.bytes_read <= MEGABYTE


@pytest.mark.parametrize(
    "data",
    [
        zips.quoted_overlap(50, 100_000),
        zips.build([Member("a.jpg", b"a" * 50), *(Member(f"{n}.jpg", b"a" * 50, offset=0) for n in range(9))]),
        zips.build([Member("a.jpg", b"a" * 50), Member("b.jpg", b"b" * 50, offset=20)]),
    ],
    ids=["quoted", "same offset", "shifted"],
)
def test_entries_that_share_bytes_are_refused(data: bytes) -> None:
    assert refusal(data).code == "overlapping_entries"


def test_the_bomb_of_the_test_above_is_one() -> None:
    """Each of its files can be unpacked by itself; together they have fifty times the kernel's size."""
    data = zips.quoted_overlap(50, 100_000)
    total = 0
    for info in zipfile.ZipFile(io.BytesIO(data)).infolist():
        start = info.header_offset + 30 + len(info.filename)
        unpacked = zlib.decompress(data[start : start + info.compress_size], -zlib.MAX_WBITS)
        assert zlib.crc32(unpacked) == info.CRC
        total += len(unpacked)
    assert total > 50 * 100_000 > 100 * len(data)


def test_a_zip_that_unpacks_to_too_much_is_refused() -> None:
    data = zips.build([Member(f"{number}.bmp", bytes(500_000)) for number in range(10)])
    bad = refusal(data, max_bytes=1_000_000)
    assert bad.code == "zip_bomb" and "times" in bad.message
    assert refusal(data, max_total_bytes=4_999_999).code == "zip_bomb"
    assert len(directory(data, max_total_bytes=5_000_000)) == 10  # below the largest zip, the ratio does not matter


def test_a_bomb_that_only_the_directory_speaks_of_is_refused() -> None:
    members = [Member(f"{number}.bmp", b"tiny", size=24_000_000) for number in range(1000)]
    assert refusal(zips.build(members)).code == "zip_bomb"


@pytest.mark.parametrize(
    ("members", "code", "word"),
    [
        ([zips.zipcrypto(Member(name, b"secret" * 9)) for name in ("a.jpg", "b.jpg")], "encrypted", "password"),
        ([Member("a.jpg", b"a", zips.DEFLATE64)], "unsupported_compression", "Deflate64"),
        ([Member("a.jpg", b"a", zips.LZMA), Member("b", b"b", zips.BZIP2)], "unsupported_compression", "LZMA"),
        ([Member("a.bmp", b"a", size=26_000_000)], "too_many_bytes", "25 MB"),
        ([Member("a/"), Member("__MACOSX/._a.jpg", b"a"), Member("Thumbs.db", b"a")], "no_pictures", "Make a zip"),
        ([Member("a.zip", GOOD)], "no_pictures", "nested zips"),
        ([Member("link.jpg", b"/etc/passwd", attributes=zips.LINK)], "no_pictures", "links"),
    ],
)
def test_a_zip_of_nothing_but_what_cannot_be_read_is_refused(members: list[Member], code: str, word: str) -> None:
    bad = refusal(zips.build(members))
    assert bad.code == code and word in bad.message


# -- what is an error row, or skipped ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (zips.zipcrypto(Member("x.jpg", b"secret" * 9)), "encrypted"),
        (Member("x.jpg", b"x", zips.DEFLATE64), "unsupported_compression"),
        (Member("x.jpg", b"x", 77), "unsupported_compression"),
        (Member("x.bmp", b"x", size=25_000_001), "too_many_bytes"),
        (Member("x.bmp", bytes(25_300_000), zips.STORED, size=10), "too_many_bytes"),
    ],
)
def test_an_entry_that_cannot_be_read_leaves_the_others_alone(member: Member, code: str) -> None:
    data = zips.build([Member("a.jpg", b"a"), member, Member("b.jpg", b"b")])
    first, bad, last = directory(data)
    assert bad.error is not None and bad.error[0] == code and says_what_to_do(bad.error[1]) and not bad.readable
    assert [content(data, entry) for entry in (first, last)] == [b"a", b"b"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_what_zipfile_packs_otherwise_is_named(method: int) -> None:
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.writestr("a.jpg", b"a" * 99, method)
        archive.writestr("b.jpg", b"b" * 99)
    error = directory(target.getvalue())[0].error
    assert error is not None and error[0] == "unsupported_compression" and ("bzip2" in error[1] or "LZMA" in error[1])


def test_a_picture_of_the_largest_size_that_does_not_shrink_is_taken() -> None:
    noise = random.Random(9).randbytes(25_000_000)
    packed = b"".join(  # deflate in its least economical form: stored blocks of a few thousand bytes
        struct.pack("<BHH", n + 5000 >= len(noise), len(noise[n : n + 5000]), len(noise[n : n + 5000]) ^ 0xFFFF)
        + noise[n : n + 5000]
        for n in range(0, len(noise), 5000)
    )
    data = zips.build([Member("a.bmp", noise, packed=packed)])
    assert len(packed) > 25_000_000 and content(data, directory(data)[0]) == noise


@pytest.mark.parametrize(
    ("member", "code"),
    [
        (Member("x.jpg", b"x" * 99, crc=1), "wrong_crc"),
        (Member("x.jpg", b"x" * 99, zips.STORED, crc=1), "wrong_crc"),
        (Member("x.jpg", b"x" * 99, size=98), "wrong_size"),
        (Member("x.jpg", b"x" * 99, size=100), "wrong_size"),
        (Member("x.jpg", b"x" * 99, zips.STORED, size=98), "wrong_size"),
        (Member("x.jpg", b"x" * 99, packed=b"\xff" * 50), "damaged_entry"),
        (Member("x.jpg", b"x" * 99, packed=b"", size=99), "wrong_size"),
        (Member("x.jpg", b"x" * 99, zips.STORED, offset=3, size=90, packed_size=90), "damaged_entry"),
    ],
)
def test_an_entry_whose_bytes_are_wrong_is_an_error_of_its_own(member: Member, code: str) -> None:
    data = zips.build([member, Member("b.jpg", b"b")])
    bad, good = directory(data)
    assert broken(data, bad) == code
    assert content(data, good) == b"b"


def test_an_entry_that_inflates_to_more_than_it_says_stops_there() -> None:
    data = zips.build([Member("x.bmp", bytes(200_000_000), size=1000)])
    entry = directory(data)[0]
    tracemalloc.start()
    assert broken(data, entry) == "wrong_size"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000


def test_a_header_that_reaches_into_the_next_entry_gets_none_of_it() -> None:
    """The local header may lie about its own length; what is fetched ends where the next entry begins."""
    first = Member("a.jpg", b"a" * 99, zips.STORED, local_extra=bytes(50))
    data = zips.build([first, Member("b.jpg", b"b" * 5000, zips.STORED)])
    stretched = bytearray(data)
    stretched[28:30] = struct.pack("<H", 400)
    assert broken(bytes(stretched), directory(bytes(stretched))[0]) == "damaged_entry"


def test_bytes_without_a_files_header_are_a_damaged_entry_however_right_the_rest_is() -> None:
    data = zips.of({"a.jpg": b"a" * 500})
    assert broken(b"XX" + data[2:], directory(data)[0]) == "damaged_entry"


@pytest.mark.parametrize("length", [0, 3, 29, 40])
def test_bytes_that_end_too_early_are_a_damaged_entry(length: int) -> None:
    data = zips.of({"a.jpg": b"a" * 500})
    with pytest.raises(BadEntry) as caught:
        extract(directory(data)[0], data[:length])
    assert caught.value.code == "damaged_entry"


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (Member("photos/"), "folder"),
        (Member("photos\\"), "folder"),
        (Member("__MACOSX/photos/._a.jpg", b"x"), "macos_metadata"),
        (Member("photos/__MACOSX/a.jpg", b"x"), "macos_metadata"),
        (Member("photos/._a.jpg", b"x"), "macos_metadata"),
        (Member("photos/.DS_Store", b"x"), "system_file"),
        (Member("photos\\Thumbs.db", b"x"), "system_file"),
        (Member("DESKTOP.INI", b"x"), "system_file"),
        (Member("link.jpg", b"/etc/passwd", attributes=zips.LINK), "link"),
        (Member("more/photos.ZIP", GOOD), "nested_zip"),
    ],
)
def test_what_is_no_picture_of_the_persons_is_skipped_with_a_reason(member: Member, reason: str) -> None:
    _, entry = directory(zips.build([Member("a.jpg", b"a"), member]))
    assert entry.reason == reason and entry.error is None and not entry.readable


def test_a_windows_programs_attributes_are_no_link() -> None:
    entry = directory(zips.build([Member("a.jpg", b"a", attributes=zips.LINK, made_by=0)]))[0]
    assert entry.readable


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "C:\\photos\\a.jpg", "\\\\host\\a.jpg", "a\0b.jpg", "\x1b[31m.jpg", ""]
)
def test_names_are_only_names_and_kept_as_they_are(name: str) -> None:
    assert directory(zips.of({name: b"a"}))[0].name == name


def test_a_name_that_comes_twice_is_two_entries() -> None:
    data = zips.build([Member("a.jpg", b"1"), Member("b.jpg", b"2"), Member("a.jpg", b"3")])
    entries = directory(data)
    assert [(entry.index, entry.name, content(data, entry)) for entry in entries] == [
        (0, "a.jpg", b"1"),
        (1, "b.jpg", b"2"),
        (2, "a.jpg", b"3"),
    ]


@pytest.mark.parametrize(
    ("raw", "flags", "name"),
    [
        ("Grüße.jpg".encode(), 0, "Grüße.jpg"),  # a Mac: UTF-8, and it does not say so
        ("Grüße.jpg".encode("cp437"), 0, "Grüße.jpg"),
        (b"caf\xe9.jpg", zips.UTF8, "cafΘ.jpg"),  # says UTF-8, and is not
        ("写真.jpg".encode("shift_jis"), 0, "写真.jpg".encode("shift_jis").decode("cp437")),
        (b"\xed\xa0\x80.jpg", zips.UTF8, "φáÇ.jpg"),  # half a pair, which no UTF-8 has
    ],
)
def test_every_name_can_be_written_whatever_its_bytes(raw: bytes, flags: int, name: str) -> None:
    found = directory(zips.build([Member(raw, b"a", flags=flags)]))[0].name
    assert found == name and found.encode()


def test_one_good_picture_among_10_000_broken_entries_is_found() -> None:
    photo = pictures.jpeg()
    members = [Member(f"{number}.jpg", b"\0" * 20, crc=number + 1) for number in range(10_000)]
    members.insert(7000, Member("good.jpg", photo))
    data = zips.build(members)
    fine, codes = [], set()
    for entry in directory(data):
        try:
            fine.append((entry.name, content(data, entry)))
        except BadEntry as bad:
            codes.add(bad.code)
    assert fine == [("good.jpg", photo)] and codes == {"wrong_crc"}


# -- damage ------------------------------------------------------------------------------------------------------

VICTIM = zips.build(
    [
        Member("a.jpg", bytes(range(256)) * 4),
        Member("ü.jpg", b"u" * 300, flags=zips.STREAMED, comment=b"a comment"),
        zips.zipcrypto(Member("c.jpg", b"c" * 40)),
        Member("d.jpg", b"d" * 100, zips.STORED, wide=True, extra=struct.pack("<2H4s", 0xCAFE, 4, b"more")),
        Member("folder/"),
    ],
    comment=b"of the whole",
    wide=True,
)
NARROW = zips.build([Member("a.jpg", bytes(range(256)) * 4), Member("b.jpg", b"b", zips.STORED)])


def survives(data: bytes) -> None:
    """Reads whatever can be read; nothing but our two exceptions may come out, and soon."""
    started = time.monotonic()
    problems: list[BadZip | BadEntry] = []
    try:
        entries = directory(data)
    except BadZip as bad:
        problems.append(bad)
        entries = []
    plan_shards(entries)
    for entry in itertools.chain.from_iterable(group.entries for group in ranges(entries)):
        try:
            assert len(content(data, entry)) == entry.size_bytes <= 25_000_000
        except BadEntry as bad:
            problems.append(bad)
    assert all(bad.code and says_what_to_do(bad.message) for bad in problems)
    assert time.monotonic() - started < 2


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([VICTIM, NARROW]),
    st.lists(st.tuples(st.integers(1, 2500), st.binary(min_size=1, max_size=8)), min_size=1, max_size=5),
    st.integers(0, 3) | st.integers(0, 3000),
)
def test_bytes_that_were_changed_or_lost_raise_nothing_else(
    victim: bytes, changes: list[tuple[int, bytes]], cut: int
) -> None:
    data = bytearray(victim)
    for place, new in changes:  # counted from the end, where the directory is
        at = max(len(data) - place, 0)
        data[at : at + len(new)] = new[: len(data) - at]
    survives(bytes(data[: max(len(data) - cut, 0)]))


@pytest.mark.parametrize("victim", [VICTIM, NARROW], ids=["zip64", "plain"])
def test_every_single_byte_may_be_wrong(victim: bytes) -> None:
    for place in range(len(victim)):
        for value in (0x00, 0xFF, victim[place] ^ 0x01, victim[place] ^ 0x80):
            survives(victim[:place] + bytes([value]) + victim[place + 1 :])


@pytest.mark.parametrize("victim", [VICTIM, NARROW], ids=["zip64", "plain"])
def test_a_zip_may_be_cut_short_at_every_place(victim: bytes) -> None:
    end = victim.rindex(b"PK\5\6") + 22
    assert len(directory(victim[:end])) == len(directory(victim))  # the comment is no loss
    for length in range(end):
        assert refusal(victim[:length]).code in ("empty_file", "not_a_zip", "truncated_zip")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_rubbish_with_an_end_record_raises_nothing_else(rubbish: bytes) -> None:
    survives(rubbish + b"PK\5\6" + rubbish[:18])
    survives(rubbish + b"PK\1\2" + rubbish + zips.build([], wide=True)[-98:])


def test_a_directory_full_of_tiny_extra_fields_costs_seconds_at_most() -> None:
    """30 MB of four-byte fields before the one that is looked for: the most work that a directory can ask for."""
    fields = struct.pack("<2H", 0xCAFE, 0) * 16_380 + struct.pack("<2HQ", 1, 8, 1)
    data = zips.build([Member(f"{number}", b"a", size=0xFFFFFFFF, extra=fields) for number in range(450)])
    started = time.process_time()
    assert len(directory(data)) == 450
    assert time.process_time() - started < 15


# -- shards and ranges -------------------------------------------------------------------------------------------


KINDS = st.tuples(
    st.sampled_from([0, 10, 5000, 300_000, 3_000_000, 9_000_000, 24_000_000]),
    st.sampled_from([0, 0, 0, 100, 100_000]),
    st.sampled_from([None, None, None, "folder"]),
)


def laid_out(kinds: list[tuple[int, int, str | None]], times: int, backwards: bool) -> list[Entry]:
    """Entries of these sizes, with these gaps behind them; `backwards`: the directory has them the other way round."""
    entries, offset = [], 0
    for packed, gap, reason in kinds * times:
        entries.append(Entry(0, "", offset, offset + 30 + packed, packed, packed, 0, 0, reason=reason))
        offset = entries[-1].end + gap
    entries = entries[::-1] if backwards else entries
    return [replace(entry, index=index) for index, entry in enumerate(entries)]


DIRECTORIES = st.builds(laid_out, st.lists(KINDS, max_size=40), st.integers(1, 10), st.booleans())


@settings(max_examples=100, deadline=None)
@given(DIRECTORIES)
def test_shards_cover_every_entry_once_and_stay_small(entries: list[Entry]) -> None:
    plan = plan_shards(entries)
    assert [shard.number for shard in plan] == list(range(len(plan)))
    assert [shard.first for shard in plan] + [len(entries)] == [0] + [shard.last for shard in plan]
    for shard in plan:
        readable = [entry for entry in entries[shard.first : shard.last] if entry.readable]
        assert shard.last > shard.first and len(readable) <= 128
        assert len(readable) <= 1 or sum(entry.packed_bytes for entry in readable) <= 16 * MEGABYTE
    assert plan == plan_shards(list(entries))


def test_a_thousand_folders_fill_no_shard_and_25_000_do() -> None:
    folder = Entry(0, "a/", 0, 0, 0, 0, 0, 0, reason="folder")
    assert plan_shards([folder] * 1000) == [ShardPlan(0, 0, 1000)]
    assert [shard.last - shard.first for shard in plan_shards([folder] * 25_000)] == [9892, 9892, 5216]
    assert plan_shards([]) == []


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("\1" * 64_990, [Member("\1" * 64_990 + f"{number}/", b"") for number in range(480)]),
        ("写" * 21_600, [Member("写" * 21_600 + f"{number}.png", b"a", 12) for number in range(480)]),
        ("", [Member(f"{number}", b"a", 65_535) for number in range(30_000)]),
    ],
    ids=["folders", "errors", "many errors"],
)
def test_the_rows_of_a_shard_have_two_megabytes_whatever_the_names(name: str, members: list[Member]) -> None:
    entries = directory(zips.build([Member("a.jpg", b"a"), *members]))
    plan = plan_shards(entries)
    assert plan[-1].last == len(entries)
    for shard in plan:
        rows = [
            error_row(entry.index, entry.name, *entry.error)
            if entry.error
            else skipped_row(entry.index, entry.name, entry.reason or "a picture")
            for entry in entries[shard.first : shard.last]
        ]
        assert len(dump({"rows": rows})) < 2.3 * MEGABYTE


def test_ordinary_names_cut_no_shard() -> None:
    """A card of a camera, packed on a Mac: twice as many entries as pictures, and long names."""
    pictures = [Entry(0, "Holidays/Norway/DCIM/" + "x" * 80, 0, 0, 1000, 1000, 0, 0)] * 1280
    shadows = [Entry(0, "__MACOSX/" + "x" * 120, 0, 0, 0, 0, 0, 0, reason="macos_metadata")] * 1280
    entries = list(itertools.chain.from_iterable(zip(pictures, shadows, strict=True)))
    assert [shard.last - shard.first for shard in plan_shards(entries)] == [256] * 10


def test_the_plan_is_that_of_the_zip_whatever_the_limits_are() -> None:
    """Server, Lambda and job may each have read the directory by themselves."""
    data = zips.many(1000, bytes(50_000))
    assert plan_shards(directory(data)) == plan_shards(directory(data, max_entries=1000))
    assert len(plan_shards(directory(data))) == 8


@settings(max_examples=100, deadline=None)
@given(DIRECTORIES, st.sampled_from([1, 100_000, 8 * MEGABYTE]))
def test_ranges_bring_each_readable_entry_once_and_no_more_than_asked(entries: list[Entry], most: int) -> None:
    found = ranges(entries, most)
    brought = [entry.index for group in found for entry in group.entries]
    assert sorted(brought) == sorted(entry.index for entry in entries if entry.readable)
    for group in found:
        assert group.start == min(entry.offset for entry in group.entries)
        assert group.end == max(entry.end for entry in group.entries)
        assert group.end - group.start <= most or len(group.entries) == 1
        for one, following in itertools.pairwise(group.entries):
            assert 0 <= following.offset - one.end <= 64 << 10, "so much that nobody wants is fetched"
    for one, following in itertools.pairwise(found):
        assert one.end <= following.start
        needed = following.entries[0].end - one.start > most or following.start - one.end > 64 << 10
        assert needed, "two requests where one would have done"


def test_a_zip_of_many_small_pictures_takes_a_request_for_eight_megabytes() -> None:
    data = zips.many(2000, bytes(8000))
    found = ranges(directory(data))
    assert len(found) == 2
    for group in found:
        blob = data[group.start : group.end]
        for entry in group.entries:
            assert extract(entry, blob[entry.offset - group.start : entry.end - group.start]) == bytes(8000)


def test_it_is_imported_where_there_is_nothing_but_python(tmp_path: Path) -> None:
    """As the Lambda does: no numpy, no Pillow."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "class Nothing:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name.split('.')[0] in ('numpy', 'PIL'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Nothing())\n"
        "import contract.ziplist, contract.batches\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('numpy', 'PIL')))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)],
        capture_output=True,
        check=False,
        text=True,
        timeout=30,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
