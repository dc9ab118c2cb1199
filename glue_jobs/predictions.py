"""What one Spark task of predict.py is sent and does: a part of a zip, or of a listing, into one file of rows.

    Zip.parts ────> Work ──┐
                           ├─ bytes of each entry ──to_pixels──> uint8[crop,crop,3] ──Model──> row ──> part-NNNNN.jsonl
    Prefix.parts ─> Part ──┘

A zip is cut as the preprocessing cuts it, so that the files are those which the server writes, byte for byte.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from contract.batches import ResultKeys, dump
from contract.shards import Counts, Row
from contract.transform import BadImage, Pixels, TransformSpec, to_pixels
from contract.ziplist import plan_shards, ranges, read_directory
from glue_jobs.images import Position, Refusal, decoded, row_of
from glue_jobs.listing import Listing, Part, Picture
from glue_jobs.model import Model, ModelPlace, Unfit, worker_model
from glue_jobs.reports import Report, TaskWatch
from glue_jobs.s3 import AT_ONCE, ReadAhead, worker_client
from glue_jobs.source import SourceLost, ZipSource, usual_limits
from glue_jobs.tasks import Work

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

W = TypeVar("W", Work, Part)

_CLIENTS = 2
"""A picture is a request, and S3's answer takes as long as a picture's classification: four are on their way."""


@dataclass(frozen=True)
class Zip:
    """One version of a zip. `etag` without quotes."""

    bucket: str
    key: str
    etag: str

    def parts(self, s3: S3Client) -> tuple[dict[str, Any], list[Work]]:
        """What it is, and its tasks. Raises BadZip, SourceLost."""
        source = self._source(s3)
        size = source.size()
        entries = read_directory(source.read, size, usual_limits(size))
        works = [Work(plan, tuple(entries[plan.first : plan.last])) for plan in plan_shards(entries)]
        return {"key": self.key, "etag": self.etag, "size_bytes": size}, works

    def rows(self, work: Work, model: Model, watch: TaskWatch) -> list[Row]:
        """One an entry. Raises SourceLost."""
        spans = ranges(work.entries)
        with ReadAhead(self._source(worker_client()).read, [(span.start, span.end) for span in spans]) as ahead:
            return _rows(work.entries, decoded(spans, watch.reading(ahead), model.spec), model, watch)

    def _source(self, s3: S3Client) -> ZipSource:
        return ZipSource(s3, self.bucket, self.key, self.etag)


@dataclass(frozen=True)
class Prefix:
    """The pictures under a prefix."""

    bucket: str
    prefix: str

    def parts(self, s3: S3Client) -> tuple[dict[str, Any], list[Part]]:
        """What they are, and their tasks."""
        parts = list(Listing(s3, self.bucket, self.prefix).parts())
        entries = parts[-1].plan.last if parts else 0
        digest = hashlib.sha256("".join(part.digest for part in parts).encode()).hexdigest()
        return {"prefix": self.prefix, "entries": entries, "digest": digest}, parts

    def rows(self, part: Part, model: Model, watch: TaskWatch) -> list[Row]:
        """One a key. Raises SourceLost."""
        listings = [Listing(worker_client(number), self.bucket, self.prefix) for number in range(_CLIENTS)]
        pictures = listings[0].pictures(part)
        wanted = [picture for picture in pictures if picture.readable]

        def read(picture: Picture) -> bytes:
            return listings[picture.index % _CLIENTS].read(picture)

        with ReadAhead(read, [(picture,) for picture in wanted], most=_CLIENTS * AT_ONCE) as ahead:
            return _rows(pictures, _decoded_each(wanted, watch.reading(ahead), model.spec), model, watch)


class Source(Protocol[W]):
    """Where pictures come from."""

    @property
    def bucket(self) -> str:
        """Of the pictures, the model and the rows."""

    def parts(self, s3: S3Client) -> tuple[dict[str, Any], list[W]]:
        """What it is, and its tasks."""

    def rows(self, part: W, model: Model, watch: TaskWatch) -> list[Row]:
        """One an entry of the part. Raises SourceLost."""


@dataclass(frozen=True)
class Job(Generic[W]):
    """What the run was asked for; the same for all of its tasks."""

    source: Source[W]
    model: ModelPlace
    output: ResultKeys


def perform(job: Job[W], work: W) -> Report:
    """Puts one part's rows into S3, unless they are there. What a retry may mend is raised, so that Spark tries again.

    A source that changed and a model that is not fit are no such things: they are answered, and end the run.
    """
    watch, s3 = TaskWatch(), worker_client()
    bucket, key = job.source.bucket, job.output.part(work.plan.number)
    if counts := _kept(s3, bucket, key, work):
        return watch.report(work.plan, counts, kept=True)
    try:
        with watch.stage("model"):
            model = worker_model(job.model)
        with watch.stage("decode"):
            rows = job.source.rows(work, model, watch)
    except (SourceLost, Unfit) as error:
        return watch.stopped(work.plan, str(error))
    with watch.stage("write"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"".join(dump(row) + b"\n" for row in rows))
    return watch.report(work.plan, Counts.of(rows))


def _kept(s3: S3Client, bucket: str, key: str, work: Work | Part) -> Counts | None:
    """Of a part that is there and whole."""
    try:
        lines = s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()
        rows = [json.loads(line) for line in lines]
        numbers = [row["entry"] for row in rows]
    except (s3.exceptions.NoSuchKey, ValueError, LookupError, TypeError):
        return None
    return Counts.of(rows) if numbers == list(range(work.plan.first, work.plan.last)) else None


def _decoded_each(
    pictures: Iterable[Picture], read: Callable[[Picture], bytes], spec: TransformSpec
) -> Iterator[tuple[Picture, Pixels | Refusal]]:
    for picture in pictures:
        try:
            yield picture, to_pixels(read(picture), spec)
        except BadImage as error:
            yield picture, (error.code, error.message)


def _rows(
    positions: Sequence[Position], found: Iterable[tuple[Position, Pixels | Refusal]], model: Model, watch: TaskWatch
) -> list[Row]:
    """One a position, as the server writes them; one picture's pixels are held at a time."""
    errors = {position.index: position.error for position in positions if position.error}
    predictions: dict[int, list[dict[str, Any]]] = {}
    for position, one in found:
        if isinstance(one, tuple):
            errors[position.index] = one
        else:
            with watch.stage("classify"):
                predictions[position.index] = [asdict(prediction) for prediction in model(one)]
    rows = [row_of(position, errors.get(position.index)) for position in positions]
    return [row | {"predictions": predictions[row["entry"]]} if row["status"] == "ok" else row for row in rows]
