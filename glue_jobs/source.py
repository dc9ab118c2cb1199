"""The zip in S3, read by ranges and held to its etag: nobody gets bytes of one zip and bytes of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# botocore waits up to 0.05, 0.1, 0.2 … 12.8 and then 20 s between attempts, at random (older versions: 1, 2, 4 …):
# thirteen waits last 53 s on average, and fewer than ten seconds 15 times in a million. Whoever is refused for ten
# seconds gets through. A client's quota allows about 35 repetitions in a row, so two requests may suffer at once.
ATTEMPTS = 14
AT_ONCE = 2
_BODY_ATTEMPTS = 5


def s3_client(attempts: int = ATTEMPTS) -> S3Client:
    """A client that outlasts a fault of the network; endpoint, region and credentials are the environment's."""
    retries = Config(connect_timeout=5, read_timeout=30, retries={"mode": "standard", "total_max_attempts": attempts})
    return boto3.client("s3", config=retries)


class SourceLost(Exception):
    """The zip is not there any more, or another lies in its place. The message says so to a person."""


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
        for attempt in range(_BODY_ATTEMPTS):
            try:
                answer = self._s3.get_object(
                    Bucket=self._bucket, Key=self._key, Range=f"bytes={start}-{end - 1}", IfMatch=self._etag
                )
            except ClientError as error:
                raise self._lost(error) from error
            try:
                # botocore repeats requests, but not the reading of an answer that breaks off.
                return answer["Body"].read()
            except BotoCoreError:
                if attempt + 1 == _BODY_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    def _lost(self, error: ClientError) -> Exception:
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        if status == 412:
            return SourceLost(
                f"The zip was replaced while it was preprocessed ({self._key}). The new one has its own run."
            )
        if status == 404:
            return SourceLost(f"The zip was deleted before it was preprocessed ({self._key}). Send it again.")
        return error
