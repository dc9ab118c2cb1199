"""One shard: the zip's bytes, range by range, into pixels and one row for each entry. Knows neither Spark nor S3.

At most one range (8 MiB, or a single entry of 25 MB), one decoded picture and one shard are held at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from contract.shards import Row, ShardRows, encode_pixels, error_row, ok_row, skipped_row
from contract.transform import BadImage, Pixels, TransformSpec, to_pixels
from contract.ziplist import BadEntry, Entry, Range, Read, ShardPlan, extract, ranges


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
    for span in ranges(entries):
        for entry, found in _decoded(span, read, spec):
            if isinstance(found, tuple):
                errors[entry.index] = found
            else:
                pixels[entry.index] = found
    rows = [_row(entry, errors.get(entry.index)) for entry in entries]
    # Ranges come in the order of offsets, images in that of the directory.
    images = [pixels.pop(index) for index in sorted(pixels)]
    npy = encode_pixels(images, spec, dtype) if images else b""
    return Shard(npy, ShardRows.of(plan, dtype, npy, rows))


def _decoded(span: Range, read: Read, spec: TransformSpec) -> Iterator[tuple[Entry, Pixels | tuple[str, str]]]:
    """Each entry of a range with its pixels, or with (code, message)."""
    blob = memoryview(read(span.start, span.end))
    for entry in span.entries:
        try:
            content = extract(entry, blob[entry.offset - span.start : entry.end - span.start])
            yield entry, to_pixels(content, spec)
        except (BadEntry, BadImage) as error:
            yield entry, (error.code, error.message)


def _row(entry: Entry, error: tuple[str, str] | None) -> Row:
    if entry.reason is not None:
        return skipped_row(entry.index, entry.name, entry.reason)
    return error_row(entry.index, entry.name, *error) if error else ok_row(entry.index, entry.name)
