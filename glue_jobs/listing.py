"""A prefix of pictures in S3: its listing, cut into parts, and the pictures of one part. No key is held but a part's.

    pages of 1,000 keys ──parts──> [Part] ──one task each──> pictures: the same keys again, by one request

The listing is the source, as a directory is a zip's: an entry is a position in it, and a part whose keys, etags or
sizes are others than they were is lost. S3 lists in the order of the keys' bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from contract.transform import ImageLimits
from contract.ziplist import ShardPlan, skip_reason
from glue_jobs.images import Refusal
from glue_jobs.s3 import whole_body
from glue_jobs.source import SourceLost

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PART_BYTES = 32 << 20
PART_ENTRIES = 256
_LIMITS = ImageLimits()


@dataclass(frozen=True, slots=True)
class Part:
    """Entries [first, last) of the listing: those after the key `after`; `digest` is of their keys, etags and sizes."""

    plan: ShardPlan
    after: str
    digest: str


@dataclass(frozen=True, slots=True)
class Picture:
    """One key of the listing. `etag` as S3 says it, `reason` and `error` as of an entry of a zip."""

    index: int
    name: str
    key: str
    etag: str
    size_bytes: int

    @property
    def reason(self) -> str | None:
        """Why it is skipped."""
        return skip_reason(self.name) if self.name else "folder"

    @property
    def error(self) -> Refusal | None:
        """Of what is not even fetched."""
        if self.size_bytes <= _LIMITS.max_bytes:
            return None
        most = f"{_LIMITS.max_bytes / 1e6:.0f} MB is the most"
        return "too_many_bytes", f"The file has {self.size_bytes / 1e6:.1f} MB; {most}. Send a smaller copy."

    @property
    def readable(self) -> bool:
        """Whether it is worth fetching."""
        return self.reason is None and self.error is None


class Listing:
    """What lies under one prefix."""

    def __init__(self, s3: S3Client, bucket: str, prefix: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._prefix = prefix

    def parts(self) -> Iterator[Part]:
        """The whole listing, cut by entries and bytes, as its pages arrive."""
        group = _Group(0, 0, "")
        for picture in self._all():
            cost = picture.size_bytes if picture.readable else 0
            if group.count and (group.count == PART_ENTRIES or group.bytes + cost > PART_BYTES):
                yield group.part()
                group = _Group(group.number + 1, picture.index, group.last_key)
            group.add(picture, cost)
        if group.count:
            yield group.part()

    def pictures(self, part: Part) -> list[Picture]:
        """Of one part. Raises SourceLost where they are not those of the plan."""
        wanted = part.plan.last - part.plan.first
        page = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, StartAfter=part.after, MaxKeys=wanted)
        group = _Group(part.plan.number, part.plan.first, part.after)
        found = [self._picture(part.plan.first + place, item) for place, item in enumerate(page.get("Contents", []))]
        for picture in found:
            group.add(picture, 0)
        if group.part() != part:
            raise SourceLost(f"The pictures under {self._prefix} changed while they were read: {_AGAIN}")
        return found

    def read(self, picture: Picture) -> bytes:
        """Its content. Raises SourceLost, and what S3 answers otherwise."""
        try:
            return whole_body(lambda: self._s3.get_object(Bucket=self._bucket, Key=picture.key, IfMatch=picture.etag))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] in (404, 412):
                raise SourceLost(f"{picture.key} was replaced or deleted while it was read: {_AGAIN}") from error
            raise

    def _all(self) -> Iterator[Picture]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._prefix)
        index = 0
        for page in pages:
            for item in page.get("Contents", []):
                yield self._picture(index, item)
                index += 1

    def _picture(self, index: int, item: Mapping[str, Any]) -> Picture:
        key = item["Key"]
        return Picture(index, key.removeprefix(self._prefix), key, item["ETag"], item["Size"])


_AGAIN = "run again, with another --output."


class _Group:
    """A part as it grows."""

    def __init__(self, number: int, first: int, after: str) -> None:
        self.number = number
        self.count = 0
        self.bytes = 0
        self.last_key = after
        self._first = first
        self._after = after
        self._digest = hashlib.sha256()

    def add(self, picture: Picture, cost: int) -> None:
        self.count += 1
        self.bytes += cost
        self.last_key = picture.key
        self._digest.update(f"{picture.key}\n{picture.etag} {picture.size_bytes}\n".encode())

    def part(self) -> Part:
        plan = ShardPlan(self.number, self._first, self._first + self.count)
        return Part(plan, self._after, self._digest.hexdigest()[:32])
