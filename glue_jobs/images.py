"""One shard: the zip's bytes, range by range, into pixels and one row for each entry. Knows neither Spark nor S3.

At most two ranges (8 MiB each, or a single entry of 25 MB), one decoded picture and one shard are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from contract.shards import Row, ShardRows, encode_pixels, error_row, ok_row, skipped_row
from contract.transform import BadImage, Pixels, TransformSpec, to_pixels
from contract.ziplist import BadEntry, Entry, Range, Read, ShardPlan, extract, ranges

Refusal = tuple[str, str]
"""(code, message) of an entry that cannot be had, or is no picture."""


class Position(Protocol):
    """One entry of a zip's directory, or of a listing: what its row says before anything is fetched."""

    @property
    def index(self) -> int:
        """Its number."""

    @property
    def name(self) -> str:
        """What the person calls it."""

    @property
    def reason(self) -> str | None:
        """Why it is skipped."""

    @property
    def error(self) -> Refusal | None:
        """What is known to be wrong with it."""


@dataclass(frozen=True)
class Shard:
    """What is written: `npy` is empty where no entry is an image."""

    npy: bytes
    rows: ShardRows


def make_shard(plan: ShardPlan, entries: Sequence[Entry], read: Read, spec: TransformSpec, dtype: str) -> Shard:
    """The same bytes whenever and wherever it is called. `entries`: those of the plan, in the directory's order.

    An entry that cannot be had, or is no picture, is a row. Raises what `read` raises.
    """
    pixels: dict[int, Pixels] = {}
    errors = {entry.index: entry.error for entry in entries if entry.error}
    for entry, found in decoded(ranges(entries), read, spec):
        if isinstance(found, tuple):
            errors[entry.index] = found
        else:
            pixels[entry.index] = found
    rows = [row_of(entry, errors.get(entry.index)) for entry in entries]
    # Ranges come in the order of offsets, images in that of the directory.
    images = [pixels.pop(index) for index in sorted(pixels)]
    npy = encode_pixels(images, spec, dtype) if images else b""
    return Shard(npy, ShardRows.of(plan, dtype, npy, rows))


def decoded(spans: Sequence[Range], read: Read, spec: TransformSpec) -> Iterator[tuple[Entry, Pixels | Refusal]]:
    """Each entry of the ranges with its uint8[crop,crop,3]. Raises what `read` raises."""
    for span in spans:
        blob = memoryview(read(span.start, span.end))
        for entry in span.entries:
            try:
                content = extract(entry, blob[entry.offset - span.start : entry.end - span.start])
                yield entry, to_pixels(content, spec)
            except (BadEntry, BadImage) as error:
                yield entry, (error.code, error.message)


def row_of(position: Position, error: Refusal | None) -> Row:
    """Its row, "ok" unless it is skipped or has an error."""
    if position.reason is not None:
        return skipped_row(position.index, position.name, position.reason)
    if error:
        return error_row(position.index, position.name, *error)
    return ok_row(position.index, position.name)
