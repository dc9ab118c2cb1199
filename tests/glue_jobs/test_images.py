"""Bytes of a zip into one shard, without Spark and without S3: every entry is a row, whatever it is."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest

from contract.shards import decode_pixels
from contract.transform import TransformSpec, to_pixels
from contract.ziplist import BadZip, plan_shards, read_directory
from glue_jobs.images import Shard, make_shard
from tests import pictures, zips
from tests.zips import Member

SPEC = TransformSpec()
GOOD = [pictures.jpeg((90, 70), seed) for seed in range(4)]


def shards_of(data: bytes, spec: TransformSpec = SPEC, dtype: str = "uint8") -> list[Shard]:
    """All of a zip; what is asked of the zip is never more than a range and a header at once."""
    read = zips.Ranges(data)
    entries = read_directory(read, len(data))
    read.asked.clear()
    made = [make_shard(plan, entries[plan.first : plan.last], read, spec, dtype) for plan in plan_shards(entries)]
    assert all(end - start <= (8 << 20) + (128 << 10) for start, end in read.asked)
    assert [row["entry"] for shard in made for row in shard.rows.rows] == list(range(len(entries)))
    return made


def only(data: bytes, spec: TransformSpec = SPEC, dtype: str = "uint8") -> Shard:
    (shard,) = shards_of(data, spec, dtype)
    return shard


def told(shard: Shard) -> list[str]:
    """What each row says, in a word."""
    return [row.get("reason") or row.get("error", {}).get("code") or row["status"] for row in shard.rows.rows]


@pytest.mark.parametrize("method", [zips.STORED, zips.DEFLATED])
def test_pixels_are_those_of_the_server(method: int) -> None:
    shard = only(zips.of({f"{number}.jpg": data for number, data in enumerate(GOOD)}, method))
    assert told(shard) == ["ok"] * 4
    assert np.array_equal(decode_pixels(shard.npy, 4, 224), np.stack([to_pixels(data, SPEC) for data in GOOD]))


def test_every_kind_of_entry_is_a_row() -> None:
    noise = random.Random(0).randbytes(500)
    named = {
        "ok": Member("good.jpg", GOOD[0]),
        "folder": Member("folder/"),
        "wrong_crc": Member("crc.jpg", GOOD[1], zips.STORED, crc=1),
        "encrypted": zips.zipcrypto(Member("secret.jpg", GOOD[1])),
        "unsupported_compression": Member("lzma.jpg", GOOD[1], zips.LZMA),
        "wrong_size": Member("size.jpg", GOOD[1], size=len(GOOD[1]) + 1),
        "damaged_entry": Member("deflate.jpg", GOOD[1], packed=b"\xff" + noise),
        "nested_zip": Member("more.zip", zips.of({"a.jpg": GOOD[0]})),
        "macos_metadata": Member("__MACOSX/._good.jpg", noise),
        "system_file": Member("a/.DS_Store", noise),
        "link": Member("link.jpg", b"good.jpg", attributes=zips.LINK),
        "empty": Member("empty.jpg", b"", zips.STORED),
        "unsupported_format": Member("text.jpg", b"no picture at all"),
        "truncated": Member("cut.jpg", GOOD[1][: len(GOOD[1]) // 2]),
        "too_many_pixels": Member("huge.png", pictures.png_of_size(20_000, 20_000)),
        "too_many_bytes": Member("big.bmp", bytes(25_000_001)),
    }
    shard = only(zips.build([*named.values(), Member("last.jpg", GOOD[2])]))
    assert told(shard) == [*named, "ok"]
    counts = shard.rows.counts
    assert (counts.images, counts.errors, counts.skipped, counts.entries) == (2, 10, 5, 17)
    assert np.array_equal(decode_pixels(shard.npy, 2, 224), np.stack([to_pixels(GOOD[n], SPEC) for n in (0, 2)]))
    assert all(row["error"]["message"].endswith(".") for row in shard.rows.rows if "error" in row)


def test_names_are_only_names() -> None:
    names: list[str | bytes] = [
        "../../etc/passwd",
        "/abs.jpg",
        "C:\\x.jpg",
        "ä ö+%20.jpg",
        b"caf\x82.jpg",
        "",
        "no-suffix",
    ]
    shard = only(zips.build([Member(name, GOOD[0]) for name in names]))
    assert [row["name"] for row in shard.rows.rows] == [
        "../../etc/passwd", "/abs.jpg", "C:\\x.jpg", "ä ö+%20.jpg", "café.jpg", "", "no-suffix",
    ]  # fmt: skip
    assert told(shard) == ["ok"] * 7


def test_duplicates_survive_by_their_position() -> None:
    shard = only(zips.build([Member("same.jpg", data) for data in GOOD]))
    assert [(row["entry"], row["name"]) for row in shard.rows.rows] == [(number, "same.jpg") for number in range(4)]
    assert np.array_equal(decode_pixels(shard.npy, 4, 224), np.stack([to_pixels(data, SPEC) for data in GOOD]))


def test_images_follow_the_directory_even_where_the_bytes_do_not() -> None:
    """Some programs write the directory in another order than the files."""
    data = zips.build([Member(f"{number}.jpg", content) for number, content in enumerate(GOOD)])
    end = data.rindex(b"PK\5\6")
    size, start = struct.unpack_from("<2L", data, end + 12)
    records = [b"PK\1\2" + part for part in data[start : start + size].split(b"PK\1\2")[1:]]
    shard = only(data[:start] + b"".join(reversed(records)) + data[end:])
    assert [row["name"] for row in shard.rows.rows] == ["3.jpg", "2.jpg", "1.jpg", "0.jpg"]
    assert np.array_equal(decode_pixels(shard.npy, 4, 224), np.stack([to_pixels(data, SPEC) for data in GOOD[::-1]]))


def test_zip64_and_streamed_members() -> None:
    members = [Member("wide.jpg", GOOD[0], wide=True), Member("streamed.jpg", GOOD[1], flags=zips.STREAMED)]
    shard = only(zips.build(members, wide=True))
    assert told(shard) == ["ok", "ok"]


def test_a_shard_without_an_image_has_no_pixels() -> None:
    shard = only(zips.build([Member("a.jpg", b"text"), Member("folder/")]))
    assert shard.npy == b"" and shard.rows.image_bytes == 0
    assert told(shard) == ["unsupported_format", "folder"]


def test_many_images_are_several_shards_and_large_ones_several_ranges() -> None:
    grain = pictures.encode(pictures.photo((1400, 1100)), "PNG")  # 4 MB each
    assert len(grain) > 2_000_000
    shards = shards_of(zips.of({f"{number}.png": grain for number in range(9)}))
    assert len(shards) == 2 and sum(shard.rows.counts.images for shard in shards) == 9


def test_the_same_zip_makes_the_same_bytes() -> None:
    data = zips.of({f"{number}.jpg": content for number, content in enumerate(GOOD)} | {"a.txt": b"text"})
    first, second = only(data), only(data)
    assert first.npy == second.npy and first.rows.encode() == second.rows.encode()


def test_another_models_geometry() -> None:
    spec = TransformSpec(resize=342, crop=299, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    shard = only(zips.of({"a.jpg": GOOD[0]}), spec)
    assert np.array_equal(decode_pixels(shard.npy, 1, 299)[0], to_pixels(GOOD[0], spec))


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_normalised_tensors_for_other_consumers(dtype: str) -> None:
    shard = only(zips.of({"a.jpg": GOOD[0]}), dtype=dtype)
    tensor = np.frombuffer(shard.npy, dtype, offset=shard.rows.data_offset).reshape(1, 224, 224, 3)
    expected = (to_pixels(GOOD[0], SPEC) / 255 - SPEC.mean) / SPEC.std
    assert shard.rows.dtype == dtype and np.allclose(tensor[0], expected, atol=2e-3)


def test_what_reading_raises_is_let_out() -> None:
    data = zips.of({"a.jpg": GOOD[0]})
    entries = read_directory(zips.Ranges(data), len(data))

    def fail(start: int, end: int) -> bytes:
        raise ConnectionError("the network is gone")

    with pytest.raises(ConnectionError):
        make_shard(plan_shards(entries)[0], entries, fail, SPEC, "uint8")


def test_a_zip_of_rubbish_is_refused_as_a_whole() -> None:
    with pytest.raises(BadZip):
        shards_of(zips.of({"folder/": b""}))
