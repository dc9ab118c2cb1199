"""The object store as batches use it: boto3's S3 API, with or without an endpoint URL. Blocking: call it in threads.

Every method raises StorageAway when S3 cannot be reached or fails, after botocore's own retries; StorageRefuses where
asking again would not help.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from backend.batches.errors import BatchProblem, StorageAway, StorageRefuses

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["Conflict", "Missing", "Part", "Storage", "Stored", "boto_config"]

PRESIGNED_SECONDS = 900
_CONFLICTS = ("PreconditionFailed", "412")
_MISSING = ("NoSuchKey", "NoSuchUpload", "404", "NotFound")
# Refusals of S3 that pass: everything else below 500 stays as it is, however often it is asked.
_PASSING = ("ConditionalRequestConflict", "RequestTimeout", "RequestTimeTooSkewed", "SlowDown", "Throttling", "429")
_DELETE_AT_ONCE = 1000


class Conflict(Exception):
    """A conditional put found something else than its condition: someone was faster."""


class Missing(Exception):
    """There is no such object or upload."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as a listing or a HEAD shows it; the etag without its quotes."""

    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a multipart upload that arrived."""

    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object's bytes, its etag, and its age in seconds by S3's own clocks."""

    data: bytes
    etag: str
    age: float


def boto_config(attempts: int = 3, **more: Any) -> Config:
    """Short waits and few retries: callers have retries of their own, or a person who waits."""
    return Config(
        connect_timeout=3,
        read_timeout=30,
        retries={"mode": "standard", "total_max_attempts": attempts},
        max_pool_connections=32,
        **more,
    )


class Storage:
    """One bucket. Safe to use from several threads."""

    def __init__(self, bucket: str, endpoint: str | None = None, public_endpoint: str | None = None) -> None:
        self.bucket = bucket
        self._s3 = _client(endpoint)
        # What a browser opens must be signed for the host that the browser sees.
        self._public = _client(public_endpoint or endpoint)

    # -- objects -------------------------------------------------------------------------------------------------

    def objects(self, prefix: str) -> list[Stored]:
        """All objects under the prefix."""
        with _answers():
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
            return [
                Stored(found["Key"], found["Size"], found["ETag"].strip('"'), found["LastModified"])
                for page in pages
                for found in page.get("Contents", [])
            ]

    def folders(self, prefix: str) -> list[str]:
        """The names right below a prefix that ends in a slash, without slashes."""
        with _answers():
            paginator = self._s3.get_paginator("list_objects_v2")
            pages = paginator.paginate(Bucket=self.bucket, Prefix=prefix, Delimiter="/")
            found = [folder["Prefix"] for page in pages for folder in page.get("CommonPrefixes", [])]
        return [folder.removeprefix(prefix).rstrip("/") for folder in found]

    def get(self, key: str) -> Fetched:
        """The whole object. Raises Missing."""
        with _answers():
            answer = self._s3.get_object(Bucket=self.bucket, Key=key)
            age = _age(answer["ResponseMetadata"]["HTTPHeaders"], answer["LastModified"])
            return Fetched(answer["Body"].read(), answer["ETag"].strip('"'), age)

    def get_range(self, key: str, start: int, end: int, etag: str | None = None) -> bytes:
        """The bytes [start, end); with an `etag`, of that version only. Raises Missing or Conflict."""
        condition: dict[str, Any] = {"IfMatch": etag} if etag else {}
        with _answers():
            answer = self._s3.get_object(Bucket=self.bucket, Key=key, Range=f"bytes={start}-{end - 1}", **condition)
            return answer["Body"].read()

    def head(self, key: str) -> Stored:
        """Raises Missing."""
        with _answers():
            answer = self._s3.head_object(Bucket=self.bucket, Key=key)
            return Stored(key, answer["ContentLength"], answer["ETag"].strip('"'), answer["LastModified"])

    def put(self, key: str, data: bytes, *, if_absent: bool = False, if_match: str | None = None) -> str:
        """Writes and returns the etag. Raises Conflict where the condition does not hold (any more)."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if if_absent else {"IfMatch": if_match} if if_match else {}
        with _answers():
            try:
                answer = self._s3.put_object(Bucket=self.bucket, Key=key, Body=data, **condition)
            except ClientError as error:
                if condition and _code(error) in _MISSING:  # If-Match on what was deleted meanwhile
                    raise Conflict(key) from error
                raise
            return answer["ETag"].strip('"')

    def delete(self, keys: Sequence[str]) -> None:
        """Removes what is there of these keys."""
        for start in range(0, len(keys), _DELETE_AT_ONCE):
            some = keys[start : start + _DELETE_AT_ONCE]
            with _answers():
                answer = self._s3.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": key} for key in some], "Quiet": True}
                )
            if answer.get("Errors"):
                raise StorageAway(f"it did not delete {answer['Errors'][0].get('Key')}")

    # -- uploads in parts ----------------------------------------------------------------------------------------

    def begin_upload(self, key: str) -> str:
        """The id of a new multipart upload."""
        with _answers():
            return self._s3.create_multipart_upload(Bucket=self.bucket, Key=key, ContentType="application/zip")[
                "UploadId"
            ]

    def presign_part(self, key: str, upload: str, number: int, size: int) -> str:
        """An address to PUT one part of exactly `size` bytes to, good for PRESIGNED_SECONDS."""
        params = {
            "Bucket": self.bucket,
            "Key": key,
            "UploadId": upload,
            "PartNumber": number,
            "ContentLength": size,
        }
        return self._public.generate_presigned_url(
            "upload_part", Params=params, ExpiresIn=PRESIGNED_SECONDS, HttpMethod="PUT"
        )

    def parts(self, key: str, upload: str) -> list[Part]:
        """The parts that arrived. Raises Missing once the upload is complete or was given up."""
        with _answers():
            pages = self._s3.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload)
            return [
                Part(part["PartNumber"], part["Size"], part["ETag"]) for page in pages for part in page.get("Parts", [])
            ]

    def complete_upload(self, key: str, upload: str, parts: Sequence[Part]) -> None:
        """Makes the object of its parts. Raises Missing."""
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with _answers():
            self._s3.complete_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload,
                MultipartUpload={"Parts": listed},  # type: ignore[typeddict-item]
            )

    def abort_upload(self, key: str, upload: str) -> None:
        """Gives up what arrived; one that is gone is fine."""
        try:
            with _answers():
                self._s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload)
        except Missing:
            return


def _client(endpoint: str | None) -> S3Client:
    # Virtual, not automatic: a browser may not follow the redirect of S3's global host to a bucket's region.
    style = {"addressing_style": "path" if endpoint else "virtual"}
    config = boto_config(
        signature_version="s3v4",
        s3=style,
        # S3-compatible servers do not all know the newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", endpoint_url=endpoint, config=config)


@contextmanager
def _answers() -> Iterator[None]:
    """botocore's exceptions as ours."""
    try:
        yield
    except ClientError as error:
        code = _code(error)
        if code in _CONFLICTS:
            raise Conflict(code) from error
        if code in _MISSING:
            raise Missing(code) from error
        if code == "NoSuchBucket":
            raise BatchProblem(
                503,
                "storage_away",
                "The storage has no such bucket: NINEFOLD_BUCKET is wrong, or it is still starting.",
            ) from error
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500)
        if status < 500 and status != 429 and code not in _PASSING:
            raise StorageRefuses(code) from error
        raise StorageAway(code) from error
    except BotoCoreError as error:
        raise StorageAway(type(error).__name__) from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _age(headers: Any, modified: datetime) -> float:
    """Seconds since `modified` by the clock of the answer, since ours may be wrong."""
    try:
        now = parsedate_to_datetime(headers["date"])
    except (KeyError, ValueError):
        now = datetime.now(UTC)
    return max((now - modified).total_seconds(), 0.0)
