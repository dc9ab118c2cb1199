"""A zip comes in: announced here, sent by its owner straight to S3 in parts, and put together here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from ulid import ULID

from backend.batches.errors import BatchProblem, unknown_batch, wrong_state
from backend.batches.storage import PRESIGNED_SECONDS, Missing, Part, Storage
from contract.batches import BatchKeys, dump

__all__ = ["PART_BYTES", "PRESIGNED_SECONDS", "Upload", "Uploads"]

PART_BYTES = 8 << 20
"""S3 takes parts from 5 MiB; the last one may be smaller."""
_LONGEST_NAME = 255


class Upload:
    """An announced upload that is not complete yet."""

    def __init__(self, storage: Storage, batch: str, request: Mapping[str, Any]) -> None:
        self._storage = storage
        self.batch = batch
        self.file_name = str(request["filename"])
        self.size_bytes = int(request["size_bytes"])
        self.part_bytes = int(request["part_size"])
        self._key = str(request["key"])
        self._id = str(request["upload_id"])

    @property
    def parts(self) -> int:
        """How many there are to be."""
        return -(-self.size_bytes // self.part_bytes)

    def size_of(self, number: int) -> int:
        """Of one part, in bytes. Raises BatchProblem for a number that is none."""
        if not 1 <= number <= self.parts:
            raise BatchProblem(422, "invalid_parameter", f"There is no part {number}: they are 1 to {self.parts}.")
        return min(self.part_bytes, self.size_bytes - (number - 1) * self.part_bytes)

    def urls(self, numbers: Iterable[int]) -> dict[int, str]:
        """Where to PUT these parts, for 15 minutes from now."""
        return {
            number: self._storage.presign_part(self._key, self._id, number, self.size_of(number)) for number in numbers
        }

    def arrived(self) -> list[Part]:
        """The parts that S3 has. Raises BatchProblem once the upload is complete or was given up."""
        try:
            return self._storage.parts(self._key, self._id)
        except Missing as error:
            raise wrong_state("This upload is complete or was given up.") from error

    def complete(self, most_bytes: int) -> None:
        """Puts the parts together. Raises BatchProblem where some are missing, or where it is too much after all."""
        parts = self.arrived()
        wrong = [number for number in range(1, self.parts + 1) if self.size_of(number) != _size(parts, number)]
        if wrong:
            raise BatchProblem(
                409, "parts_missing", f"{len(wrong)} of {self.parts} parts are missing or incomplete: send them first."
            )
        try:
            self._storage.complete_upload(self._key, self._id, [part for part in parts if part.number <= self.parts])
        except Missing as error:
            raise wrong_state("This upload is complete or was given up.") from error
        self._check_size(most_bytes)

    def abort(self) -> None:
        """Gives up what arrived."""
        self._storage.abort_upload(self._key, self._id)

    def _check_size(self, most_bytes: int) -> None:
        """By what S3 has, whatever was announced."""
        size = self._storage.head(self._key).size
        if size > most_bytes:
            self._storage.delete([self._key])
            raise too_large(size, most_bytes)


class Uploads:
    """Announces uploads and finds them again. Blocking: to be called in threads."""

    def __init__(self, storage: Storage, most_bytes: int) -> None:
        self._storage = storage
        self._most_bytes = most_bytes

    def create(self, file_name: str, size_bytes: int, batch: str | None = None) -> Upload:
        """Raises BatchProblem for what will be no batch anyway. `batch`: its id, good for this one zip; else fresh."""
        if not file_name.lower().endswith(".zip"):
            raise BatchProblem(422, "not_a_zip", "The file's name does not end in .zip. Make a zip of the pictures.")
        if size_bytes <= 0:
            raise BatchProblem(422, "empty_file", "The file is empty. Choose it again; it may not have been saved.")
        if size_bytes > self._most_bytes:
            raise too_large(size_bytes, self._most_bytes)
        name = file_name.replace("\\", "/").rsplit("/", 1)[-1][-_LONGEST_NAME:]
        if batch and (known := self._announced(batch)):
            if (known.file_name, known.size_bytes) != (name, size_bytes):
                raise wrong_state("Another zip was announced by this token. Reload the page for another one.")
            return known
        keys = BatchKeys(batch or str(ULID()))
        key = keys.upload(file_name)
        request = {
            "filename": name,
            "size_bytes": size_bytes,
            "part_size": PART_BYTES,
            "key": key,
            "upload_id": self._storage.begin_upload(key),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        self._storage.put(keys.request, dump(request))
        return Upload(self._storage, keys.batch, request)

    def find(self, batch: str) -> Upload:
        """Raises BatchProblem for a batch that does not exist or was not announced here."""
        try:
            return Upload(self._storage, batch, json.loads(self._storage.get(BatchKeys(batch).request).data))
        except (Missing, ValueError, KeyError, TypeError) as error:
            raise unknown_batch(batch) from error

    def _announced(self, batch: str) -> Upload | None:
        """What an earlier request announced, whose answer may have been lost."""
        try:
            return self.find(batch)
        except BatchProblem as problem:
            if problem.code != "unknown_batch":
                raise
            return None


def too_large(size: int, most: int) -> BatchProblem:
    """The refusal of a zip by its size."""
    message = f"The zip has {size / 1e6:.0f} MB; {most / 1e6:.0f} MB is the most. Split it into several."
    return BatchProblem(413, "zip_too_large", message)


def _size(parts: Iterable[Part], number: int) -> int | None:
    return next((part.size for part in parts if part.number == number), None)
