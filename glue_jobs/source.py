"""The zip in S3, read by ranges and held to its etag: nobody gets bytes of one zip and bytes of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from contract.ziplist import ZipLimits
from glue_jobs.s3 import whole_body

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class SourceLost(Exception):
    """What was to be read is not there any more, or another lies in its place. The message says so to a person."""


class ZipSource:
    """One version of one object. `etag` without quotes."""

    def __init__(self, s3: S3Client, bucket: str, key: str, etag: str) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._etag = f'"{etag}"'

    def size(self) -> int:
        """In bytes. Raises SourceLost."""
        try:
            return self._s3.head_object(Bucket=self._bucket, Key=self._key, IfMatch=self._etag)["ContentLength"]
        except ClientError as error:
            raise self._lost(error) from error

    def read(self, start: int, end: int) -> bytes:
        """The bytes [start, end). Raises SourceLost, and what S3 answers otherwise."""
        span = f"bytes={start}-{end - 1}"
        try:
            return whole_body(
                lambda: self._s3.get_object(Bucket=self._bucket, Key=self._key, Range=span, IfMatch=self._etag)
            )
        except ClientError as error:
            raise self._lost(error) from error

    def _lost(self, error: ClientError) -> Exception:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 412:
            return SourceLost(
                f"The zip was replaced while it was read ({self._key}). The new one needs a run of its own."
            )
        if status == 404:
            return SourceLost(f"The zip was deleted before it was read ({self._key}). Send it again.")
        return error


def usual_limits(size: int) -> ZipLimits:
    """Whether a zip of that size is too large was decided before the run was paid for, perhaps by another setting."""
    usual = ZipLimits()
    return ZipLimits(max_bytes=max(size, usual.max_bytes))
