"""Shards: what is read is what was written, or a BadShard; floats are torch's; the same in, the same out."""

import contextlib
import io
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.functional import normalize, to_tensor

from contract.shards import (
    BadShard,
    Counts,
    Manifest,
    Row,
    ShardRows,
    decode_pixels,
    encode_pixels,
    error_row,
    ok_row,
    skipped_row,
    tensors_id,
)
from contract.transform import Pixels, TransformSpec
from contract.ziplist import ShardPlan

SPEC = TransformSpec()
HALVES = TransformSpec(resize=333, crop=299, interpolation="bicubic", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
SIDE = 16
PLAN = ShardPlan(3, 10, 15)
ROWS: list[Row] = [
    ok_row(10, "a.jpg"),
    skipped_row(11, "b/", "folder"),
    ok_row(12, "b/ü.jpg"),
    error_row(13, "c.jpg", "corrupt", "It is damaged."),
    ok_row(14, "a.jpg"),
]


def images(count: int = 3, side: int = SIDE) -> list[Pixels]:
    random = np.random.default_rng(count)
    return [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(count)]


def shard_rows(dtype: str = "uint8", rows: list[Row] = ROWS) -> tuple[bytes, ShardRows]:
    npy = encode_pixels(images(), SPEC, dtype)
    return npy, ShardRows.of(PLAN, dtype, npy, rows)


def altered(**changes: object) -> bytes:
    return json.dumps(json.loads(shard_rows()[1].encode()) | changes).encode()


# -- pixels ------------------------------------------------------------------------------------------------------


def test_pixels_come_back_as_they_were_and_any_numpy_reads_them() -> None:
    data = encode_pixels(images(), SPEC)
    assert np.array_equal(decode_pixels(data, 3, SIDE), np.stack(images()))
    assert np.array_equal(np.load(io.BytesIO(data)), np.stack(images()))
    assert decode_pixels(data, 3, SIDE).base is not None  # a view, not a copy


@pytest.mark.parametrize("spec", [SPEC, HALVES], ids=["imagenet", "halves"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float16", 1e-3)])
def test_floats_are_normalised_as_torch_would(spec: TransformSpec, dtype: str, tolerance: float) -> None:
    ours = np.load(io.BytesIO(encode_pixels(images(), spec, dtype)))
    theirs = torch.stack([normalize(to_tensor(image), list(spec.mean), list(spec.std)) for image in images()])
    assert ours.dtype == dtype and ours.shape == (3, SIDE, SIDE, 3)
    assert np.abs(ours.astype(np.float32) - theirs.permute(0, 2, 3, 1).numpy()).max() < tolerance


def test_the_same_images_make_the_same_bytes() -> None:
    assert encode_pixels(images(), SPEC) == encode_pixels(images(), HALVES)  # uint8 knows nothing of normalisation
    assert shard_rows()[1].encode() == shard_rows()[1].encode()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        encode_pixels(images(), SPEC)[:-1],
        encode_pixels(images(), SPEC)[:100],
        encode_pixels(images(), SPEC) + b"\0",
        encode_pixels(images(2), SPEC),
        encode_pixels(images(4), SPEC),
        encode_pixels(images(3, side=17), SPEC),
        encode_pixels(images(), SPEC, "float16"),
        b"\x93NUMPY\2" + encode_pixels(images(), SPEC)[7:],
        encode_pixels(images(), SPEC).replace(b"False", b"True "),
        encode_pixels(images(), SPEC).replace(b"'|u1'", b"'|O1'"),
        encode_pixels(images(), SPEC).replace(b"{'descr'", b"((('descr"),
        encode_pixels(images(), SPEC).replace(b"'descr'", b"[     ]"),
    ],
)
def test_pixels_that_are_not_what_was_written_are_a_bad_shard(data: bytes) -> None:
    with pytest.raises(BadShard):
        decode_pixels(data, 3, SIDE)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 140), st.binary(min_size=1, max_size=6))
def test_a_damaged_header_raises_nothing_else(place: int, new: bytes) -> None:
    data = bytearray(encode_pixels(images(), SPEC))
    data[place : place + len(new)] = new
    with contextlib.suppress(BadShard):
        assert decode_pixels(bytes(data), 3, SIDE).shape == (3, SIDE, SIDE, 3)


# -- rows --------------------------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were() -> None:
    rows = shard_rows()[1]
    assert ShardRows.decode(rows.encode()) == rows and rows.counts == Counts(3, 1, 1)
    assert json.loads(rows.encode())["images"] == 3


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_an_image_can_be_read_by_itself(dtype: str) -> None:
    npy, rows = shard_rows(dtype)
    whole = np.load(io.BytesIO(npy))
    for entry, place in ((10, 0), (12, 1), (14, 2)):
        start, end = rows.image_range(entry) or (0, 0)
        assert np.array_equal(np.frombuffer(npy[start:end], dtype).reshape(SIDE, SIDE, 3), whole[place])
        assert end <= len(npy) and (entry < 14 or end == len(npy))


@pytest.mark.parametrize("entry", [-1, 0, 9, 11, 13, 15, 1000])
def test_an_entry_without_an_image_has_no_range(entry: int) -> None:
    assert shard_rows()[1].image_range(entry) is None


def test_a_shard_without_images_needs_no_file() -> None:
    rows = ShardRows.of(ShardPlan(0, 0, 1), "uint8", b"", [skipped_row(0, "a/", "folder")])
    assert ShardRows.decode(rows.encode()) == rows and rows.image_range(0) is None


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000,
        altered(rows=ROWS[:4]), altered(rows=ROWS[::-1]), altered(rows=[*ROWS, ok_row(15, "d.jpg")]),
        altered(rows=None), altered(rows=[1]), altered(rows=[[]]), altered(rows={}), altered(rows="rows"),
        altered(rows=[{"entry": 10, "name": "a"}, *ROWS[1:]]), altered(rows=[{**ROWS[0], "status": "fine"}, *ROWS[1:]]),
        altered(first=11), altered(last=10**15), altered(first=-(10**15)), altered(last=float("inf")),
        altered(first=float("nan")), altered(shard="three"), altered(images=2), altered(data_offset=None),
    ],
    ids=lambda data: repr(data[-40:]),
)  # fmt: skip
def test_rows_that_are_not_what_was_written_are_a_bad_shard(data: bytes) -> None:
    with pytest.raises(BadShard):
        ShardRows.decode(data)


# -- the manifest and the folder's name --------------------------------------------------------------------------

MANIFEST = Manifest(
    {"key": "uploads/a/b.zip", "etag": "e", "size_bytes": 12},
    HALVES,
    "uint8",
    ((ShardPlan(0, 0, 5), Counts(3, 1, 1)), (ShardPlan(1, 5, 7), Counts(0, 2, 0))),
)


def test_a_manifest_comes_back_as_it_was_and_counts() -> None:
    assert Manifest.decode(MANIFEST.encode()) == MANIFEST
    assert MANIFEST.counts == Counts(3, 3, 1) and MANIFEST.counts.entries == 7
    assert Manifest({}, SPEC, "uint8", ()).counts == Counts(0, 0, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"null", b"[]", b"{}", b"\xff", b"[" * 100_000, MANIFEST.encode()[:-1],
        MANIFEST.encode().replace(b'"resize":333', b'"resize":Infinity'),
        MANIFEST.encode().replace(b'"resize":333', b'"resize":1'),
        MANIFEST.encode().replace(b'"bicubic"', b'"nearest"'),
        MANIFEST.encode().replace(b'"mean":[0.5,', b'"mean":['),
        MANIFEST.encode().replace(b'"images":0', b'"images":null'),
        MANIFEST.encode().replace(b'"images":0', b'"images":Infinity'),
    ],
    ids=lambda data: repr(data[:20]),
)  # fmt: skip
def test_a_manifest_that_is_none_is_a_bad_shard(data: bytes) -> None:
    with pytest.raises(BadShard):
        Manifest.decode(data)


def test_specs_that_yield_the_same_tensors_share_a_folder_and_others_do_not() -> None:
    other_mean = TransformSpec(mean=(0.5, 0.5, 0.5))
    assert tensors_id(SPEC) == tensors_id(other_mean) == SPEC.pixels_id
    names = [tensors_id(spec, dtype) for spec in (SPEC, other_mean, HALVES) for dtype in ("float16", "float32")]
    assert len({*names, tensors_id(SPEC), tensors_id(HALVES)}) == 8
    assert tensors_id(SPEC, "float16") == tensors_id(TransformSpec(), "float16")
