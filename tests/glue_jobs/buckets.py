"""A bucket with a zip in it, and what the job makes of that."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from contract.batches import BatchKeys, SourceKeys, UploadKey
from contract.shards import Manifest, ShardRows, decode_pixels
from contract.transform import Pixels, TransformSpec
from glue_jobs.tasks import Job
from inference.artefacts import Artefact
from tests.localcloud.clouds import Cloud

UPLOAD = UploadKey("a-batch", "photos.zip")


class Bucket:
    """One bucket of a running S3."""

    def __init__(self, storage: Cloud, name: str) -> None:
        self.s3 = storage.s3
        self.name = name
        self.env = storage.env

    def upload(self, body: bytes) -> str:
        """The zip's etag, without quotes."""
        return str(self.s3.put_object(Bucket=self.name, Key=str(UPLOAD), Body=body)["ETag"].strip('"'))

    def job(self, etag: str, dtype: str = "uint8", spec: TransformSpec = TransformSpec()) -> Job:
        return Job(self.name, UPLOAD, etag, spec, dtype)

    def arguments(self, etag: str, **more: str) -> list[str]:
        """Of a run, as Glue gives them."""
        named = {"bucket": self.name, "batch": UPLOAD.batch, "key": str(UPLOAD), "etag": etag, "JOB_NAME": "the-job"}
        return [word for name, value in (named | more).items() for word in (f"--{name}", value)]

    def source_keys(self, etag: str) -> SourceKeys:
        return BatchKeys(UPLOAD.batch).source(etag)

    def get(self, key: str) -> bytes | None:
        try:
            return bytes(self.s3.get_object(Bucket=self.name, Key=key)["Body"].read())
        except self.s3.exceptions.NoSuchKey:
            return None

    def json(self, key: str) -> dict[str, Any] | None:
        data = self.get(key)
        return None if data is None else dict(json.loads(data))

    def objects(self) -> dict[str, tuple[str, object]]:
        """Etag and time of change of all under batches/, by key."""
        listed = self.s3.list_objects_v2(Bucket=self.name, Prefix="batches/").get("Contents", [])
        return {item["Key"]: (item["ETag"], item["LastModified"]) for item in listed}

    def manifest(self, job: Job) -> Manifest:
        data = self.get(job.tensor_keys.manifest)
        assert data is not None, f"no manifest among {sorted(self.objects())}"
        return Manifest.decode(data)

    def shard(self, job: Job, number: int) -> tuple[ShardRows, Pixels]:
        """Rows and pixels, held to each other by contract.shards."""
        rows = ShardRows.decode(self.get(job.tensor_keys.rows(number)) or b"")
        if not rows.counts.images:
            assert self.get(job.tensor_keys.pixels(number)) is None
            return rows, np.zeros((0, job.spec.crop, job.spec.crop, 3), np.uint8)
        npy = self.get(job.tensor_keys.pixels(number)) or b""
        return rows, decode_pixels(npy, rows.counts.images, job.spec.crop)

    def put_model(self, artefact: Artefact, prefix: str = "models/") -> str:
        """The artefact as predict.py wants it; the prefix."""
        for path in artefact.folder.iterdir():
            self.s3.put_object(Bucket=self.name, Key=f"{prefix}{path.name}", Body=path.read_bytes())
        return prefix

    def parts(self, prefix: str) -> dict[str, bytes]:
        """Files of rows, by name."""
        listed = self.s3.list_objects_v2(Bucket=self.name, Prefix=f"{prefix}part-").get("Contents", [])
        return {item["Key"].removeprefix(prefix): self.get(item["Key"]) or b"" for item in listed}

    def rows(self, prefix: str) -> list[dict[str, Any]]:
        """Of all files of rows, in their order."""
        parts = self.parts(prefix)
        return [json.loads(line) for name in sorted(parts) for line in parts[name].splitlines()]
