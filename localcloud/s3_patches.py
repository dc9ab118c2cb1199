"""What is changed in moto's S3: requests that race, objects too large to hold, and one event an upload.

moto is made for tests: one client at a time, small objects. Each change says what it puts right;
tests/localcloud/test_canaries.py fails when moto's own code under a change is no longer the one it was written for.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

from moto.iam.access_control import PermissionResult
from moto.s3 import models, responses
from moto.s3.exceptions import EntityTooSmall, InvalidPart, MalformedXML, NoSuchUpload
from moto.settings import S3_UPLOAD_PART_MIN_SIZE

from localcloud.s3_contents import Content, JoinedParts

IN_MEMORY_BYTES = 1 << 20
_LOCKS = [threading.RLock() for _ in range(256)]


def install() -> None:
    """Once a process, before the first request."""
    models.get_s3_default_key_buffer_size = lambda: IN_MEMORY_BYTES  # type: ignore[attr-defined]
    _write_once()
    _forget_what_is_gone()
    _read_in_slices()
    _one_writer_a_key()
    _complete_without_holding()
    _refuse_unknown_uploads()
    _ask_no_policies()


def _write_once() -> None:
    """A key's ETag is known before anybody sees the key, and its bytes stay while somebody reads them.

    moto computes the ETag at the first question, moving the position of a file that another thread may be reading;
    and it closes the file of a replaced object under its readers. Here files close when the last reader lets go.
    """
    original = models.FakeKey.value

    def write(key: models.FakeKey, value: bytes | JoinedParts) -> None:
        buffer = key._value_buffer
        if isinstance(value, JoinedParts):
            key.contentsize = value.write_to(buffer)
        else:
            original.fset(key, value)  # type: ignore[attr-defined]
            if key._etag is None:
                key._etag = hashlib.md5(value, usedforsecurity=False).hexdigest()
        buffer.flush()

    def dispose(key: models.FakeKey, garbage: bool = False) -> None:  # noqa: ARG001  # moto's signature
        key.disposed = True

    models.FakeKey.value = property(original.fget, write)  # type: ignore[method-assign, assignment, attr-defined]
    models.FakeKey.dispose = dispose  # type: ignore[method-assign, assignment]


def _forget_what_is_gone() -> None:
    """moto keeps a list of every object that ever was, deleted ones too, and with it their files."""
    for model in (models.FakeKey, models.FakeMultipart):
        model.instances_tracked = deque(maxlen=0)  # type: ignore[union-attr]


class _OpenedKey:
    """A key as a request reads it: everything as it is, only that `value` is a slice to be sent, not bytes."""

    def __init__(self, key: models.FakeKey) -> None:
        self._key = key

    @property
    def value(self) -> Content | bytes:
        return Content.of(self._key._value_buffer, self._key.contentsize)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._key, name)


def _read_in_slices() -> None:
    """A GET reads what it sends: moto reads the whole object for each range of it."""
    original = responses.S3Response._get_key

    def _get_key(self: responses.S3Response, validate_storage_class: bool = True) -> tuple[Any, bool]:
        key, not_modified = original(self, validate_storage_class)
        return _OpenedKey(key), not_modified

    responses.S3Response._get_key = _get_key  # type: ignore[method-assign]


def _one_writer_a_key() -> None:
    """Conditional writes hold under concurrency: moto looks whether the key is there, then writes, without a lock."""
    respond, delete = responses.S3Response._key_response, models.S3Backend.delete_object

    def _key_response(self: responses.S3Response, request: Any, full_url: str) -> Any:
        if request.method in ("GET", "HEAD", "OPTIONS"):
            return respond(self, request, full_url)
        with _lock(self.bucket_name, self.parse_key_name()):
            return respond(self, request, full_url)

    def delete_object(self: models.S3Backend, bucket_name: str, key_name: str, *rest: Any, **named: Any) -> Any:
        with _lock(bucket_name, key_name):
            return delete(self, bucket_name, key_name, *rest, **named)

    responses.S3Response._key_response = _key_response  # type: ignore[method-assign]
    models.S3Backend.delete_object = delete_object  # type: ignore[method-assign]


def _lock(bucket: str, key: str) -> AbstractContextManager[Any]:
    return _LOCKS[hash((bucket, key)) % len(_LOCKS)]


def _complete_without_holding() -> None:
    """Parts are joined from file to file, and one upload sends one event.

    moto holds the object four times while it joins it, keeps the parts afterwards, and sends `Put` as well as
    `CompleteMultipartUpload`. Left out is the checksum of the joined object: moto may hold the object once more for it,
    and hands that of an object in parts on to its copies, where it is wrong.
    """
    put = models.S3Backend.put_object

    def complete(self: models.FakeMultipart, body: Iterator[tuple[int, str]]) -> tuple[JoinedParts, str, None]:
        parts = _named_parts(self, body)
        digests = b"".join(bytes.fromhex(part.etag.strip('"')) for part in parts)
        etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(parts)}"
        return JoinedParts(parts), etag, None

    def put_object(self: models.S3Backend, *rest: Any, **named: Any) -> models.FakeKey:
        named["disable_notification"] = named.get("disable_notification") or named.get("multipart") is not None
        return put(self, *rest, **named)

    models.FakeMultipart.complete = complete  # type: ignore[method-assign, assignment]
    models.S3Backend.put_object = put_object  # type: ignore[method-assign]


def _named_parts(upload: models.FakeMultipart, body: Iterator[tuple[int, str]]) -> list[models.FakeKey]:
    """The parts that the request names, refused as S3 refuses them, before any of them is touched."""
    parts = []
    for number, etag in body:
        part = upload.parts.get(number)
        if part is None or part.etag.strip('"') != etag.strip('"'):
            raise InvalidPart()
        parts.append(part)
    if not parts:
        raise MalformedXML()
    if any(part.contentsize < S3_UPLOAD_PART_MIN_SIZE for part in parts[:-1]):
        raise EntityTooSmall()
    return parts


def _refuse_unknown_uploads() -> None:
    """An upload that was aborted or completed is 404 NoSuchUpload, as in S3; moto answers 500, which clients repeat."""
    for name in ("upload_part", "upload_part_copy", "complete_multipart_upload"):
        setattr(models.S3Backend, name, _of_known_upload(getattr(models.S3Backend, name)))


def _of_known_upload(original: Any) -> Any:
    def checked(self: models.S3Backend, bucket_name: str, multipart_id: str, *rest: Any, **named: Any) -> Any:
        if multipart_id not in self.get_bucket(bucket_name).multiparts:
            raise NoSuchUpload(upload_id=multipart_id)
        return original(self, bucket_name, multipart_id, *rest, **named)

    return checked


def _ask_no_policies() -> None:
    """A bucket's policy is kept and shown, and asked as little as a role's: moto takes no notice of its conditions.

    So a policy that denies what does not come over TLS would deny everything. And nothing comes over TLS here.
    """

    def get_permission(self: models.FakeBucket, action: str, resource: str) -> PermissionResult:  # noqa: ARG001  # moto's signature
        return PermissionResult.NEUTRAL

    models.FakeBucket.get_permission = get_permission  # type: ignore[method-assign]
