"""One shard: the pixels of its images as .npy, one row for each of its zip entries as JSON; and the manifest of all.

    part-NNNNN.npy    uint8[N,H,W,3], or normalised float16/float32 for other consumers; no file where N is 0
    part-NNNNN.json   {"shard", "first", "last", "images", "dtype", "data_offset", "image_bytes", "rows":[row…]}
    row               {"entry", "name", "status": "ok"} | … "error", "error": {"code","message"} | … "skipped", "reason"
    manifest.json     {"source", "transform", "dtype", "counts", "shards": [{"shard", "first", "last", "images"}…]}

The n-th row whose status is ok belongs to the n-th image. The same zip makes the same bytes: no times, no run ids.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.batches import dump
from contract.transform import Pixels, TransformSpec
from contract.ziplist import ShardPlan

__all__ = [
    "DTYPES", "BadShard", "Counts", "Manifest", "Row", "ShardRows", "decode_pixels", "encode_pixels", "error_row",
    "ok_row", "skipped_row", "tensors_id",
]  # fmt: skip

DTYPES = ("uint8", "float16", "float32")
Row = dict[str, Any]
Tensor = npt.NDArray[Any]
_HEADER_BYTES = 4096
_UNREADABLE = (ValueError, LookupError, TypeError, OverflowError, RecursionError)


class BadShard(Exception):
    """What was read is not what was written: a shard, its rows or a manifest is damaged or of another version."""


@dataclass(frozen=True)
class Counts:
    """predictions (or images) + errors + skipped = entries."""

    images: int
    errors: int
    skipped: int

    @property
    def entries(self) -> int:
        """All positions of the directory."""
        return self.images + self.errors + self.skipped

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Counts:
        """Counts the rows by status."""
        statuses = [row["status"] for row in rows]
        return cls(statuses.count("ok"), statuses.count("error"), statuses.count("skipped"))

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.images + other.images, self.errors + other.errors, self.skipped + other.skipped)


def ok_row(entry: int, name: str) -> Row:
    """An entry whose pixels are in the shard."""
    return {"entry": entry, "name": name, "status": "ok"}


def error_row(entry: int, name: str, code: str, message: str) -> Row:
    """An entry that was meant as a picture and cannot be had as one."""
    return {"entry": entry, "name": name, "status": "error", "error": {"code": code, "message": message}}


def skipped_row(entry: int, name: str, reason: str) -> Row:
    """An entry that is no picture of the person's: a folder, a system file, …."""
    return {"entry": entry, "name": name, "status": "skipped", "reason": reason}


def tensors_id(spec: TransformSpec, dtype: str = "uint8") -> str:
    """The folder of a batch's shards: specs that yield the same tensors share it."""
    if dtype == "uint8":
        return spec.pixels_id
    normalisation = hashlib.sha256(repr((spec.mean, spec.std)).encode()).hexdigest()[:8]
    return f"{spec.pixels_id}-{dtype}-{normalisation}"


def encode_pixels(images: Sequence[Pixels], spec: TransformSpec, dtype: str = "uint8") -> bytes:
    """uint8[H,W,3] each → the .npy of [N,H,W,3]; a float dtype is normalised by the spec's mean and std."""
    stacked: Tensor = np.stack(images)
    if dtype != "uint8":
        mean, std = (np.asarray(values, np.float32) for values in (spec.mean, spec.std))
        stacked = ((stacked.astype(np.float32) / 255 - mean) / std).astype(dtype)
    file = io.BytesIO()
    np.save(file, stacked, allow_pickle=False)
    return file.getvalue()


def decode_pixels(data: bytes, images: int, side: int) -> Pixels:
    """The .npy of a shard → uint8[images,side,side,3], a view of `data`. Raises BadShard."""
    try:
        shape, dtype, offset = _read_header(data)
    except Exception as error:
        # numpy reads the header as Python: damage is a SyntaxError, a TokenError, a TypeError, ….
        raise BadShard(f"the shard is damaged: {error}") from error
    if dtype != np.uint8 or shape != (images, side, side, 3):
        raise BadShard(f"the shard holds {dtype}{list(shape)}, not uint8[{images},{side},{side},3]")
    if len(data) - offset != images * side * side * 3:
        raise BadShard(f"the shard has {len(data) - offset} bytes of pixels, not {images * side * side * 3}")
    return np.frombuffer(data, np.uint8, offset=offset).reshape(shape)


def _read_header(npy: bytes) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype, and where the data begins."""
    file = io.BytesIO(npy[:_HEADER_BYTES])
    version = np.lib.format.read_magic(file)
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
    if version != (1, 0) or by_columns:
        raise ValueError("it is not in the order in which it was written")
    return shape, dtype, file.tell()


@dataclass(frozen=True)
class ShardRows:
    """The JSON beside a shard's pixels. Image n lies at data_offset + n × image_bytes of the .npy, row by row."""

    plan: ShardPlan
    dtype: str
    data_offset: int
    image_bytes: int
    rows: list[Row]

    @classmethod
    def of(cls, plan: ShardPlan, dtype: str, npy: bytes, rows: list[Row]) -> ShardRows:
        """For pixels as `encode_pixels` made them; `npy` is empty where there is no image."""
        images = Counts.of(rows).images
        offset = _read_header(npy)[2] if images else 0
        return cls(plan, dtype, offset, (len(npy) - offset) // images if images else 0, rows)

    @property
    def counts(self) -> Counts:
        """Of this shard."""
        return Counts.of(self.rows)

    def encode(self) -> bytes:
        """As JSON."""
        return dump(
            {
                "shard": self.plan.number,
                "first": self.plan.first,
                "last": self.plan.last,
                "images": self.counts.images,
                "dtype": self.dtype,
                "data_offset": self.data_offset,
                "image_bytes": self.image_bytes,
                "rows": self.rows,
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> ShardRows:
        """What `encode` wrote. Raises BadShard."""
        try:
            body = json.loads(data)
            plan = ShardPlan(int(body["shard"]), int(body["first"]), int(body["last"]))
            found = cls(plan, body["dtype"], int(body["data_offset"]), int(body["image_bytes"]), body["rows"])
            numbers = [row["entry"] for row in found.rows if row["status"] in ("ok", "error", "skipped")]
            wrong = plan.last - plan.first != len(found.rows) or numbers != list(range(plan.first, plan.last))
            if wrong or found.counts.images != body["images"]:
                raise BadShard(f"the rows of shard {plan.number} are not those of its entries")
            return found
        except _UNREADABLE as error:
            raise BadShard(f"the rows of a shard cannot be read: {error!r}") from error

    def image_range(self, entry: int) -> tuple[int, int] | None:
        """Where in the .npy the entry's image lies, [start, end); None for an entry that has none."""
        if not self.plan.first <= entry < self.plan.last or self.rows[entry - self.plan.first]["status"] != "ok":
            return None
        place = Counts.of(self.rows[: entry - self.plan.first]).images
        start = self.data_offset + place * self.image_bytes
        return start, start + self.image_bytes


@dataclass(frozen=True)
class Manifest:
    """All shards of one source for one transform and dtype."""

    source: Mapping[str, Any]
    """{"key", "etag", "size_bytes"} of the zip."""
    transform: TransformSpec
    dtype: str
    shards: tuple[tuple[ShardPlan, Counts], ...]

    @property
    def counts(self) -> Counts:
        """Of the whole zip."""
        return sum((counts for _, counts in self.shards), Counts(0, 0, 0))

    def encode(self) -> bytes:
        """As JSON."""
        return dump(
            {
                "source": dict(self.source),
                "transform": self.transform.to_dict(),
                "dtype": self.dtype,
                "counts": _counts(self.counts),
                "shards": [
                    {"shard": plan.number, "first": plan.first, "last": plan.last, **_counts(counts)}
                    for plan, counts in self.shards
                ],
            }
        )

    @classmethod
    def decode(cls, data: bytes) -> Manifest:
        """What `encode` wrote. Raises BadShard."""
        try:
            body = json.loads(data)
            shards = tuple(
                (ShardPlan(part["shard"], part["first"], part["last"]), _read_counts(part)) for part in body["shards"]
            )
            return cls(body["source"], TransformSpec.from_dict(body["transform"]), body["dtype"], shards)
        except _UNREADABLE as error:
            raise BadShard(f"the manifest cannot be read: {error!r}") from error


def _counts(counts: Counts) -> dict[str, int]:
    return {"images": counts.images, "errors": counts.errors, "skipped": counts.skipped}


def _read_counts(body: Mapping[str, Any]) -> Counts:
    return Counts(int(body["images"]), int(body["errors"]), int(body["skipped"]))
