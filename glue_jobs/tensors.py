"""The shards of one zip in S3: which are finished, how one is put there, and the manifest that says all are."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from contract.batches import TENSORS_TAG, TensorKeys
from contract.shards import BadShard, Counts, Manifest, ShardRows
from contract.ziplist import ShardPlan
from glue_jobs.images import Shard
from glue_jobs.s3 import AT_ONCE, put_once

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class TensorStore:
    """What lies under one set of keys."""

    def __init__(self, s3: S3Client, bucket: str, keys: TensorKeys) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._keys = keys

    def finished(self, plans: Sequence[ShardPlan], dtype: str) -> dict[ShardPlan, Counts]:
        """The plans whose rows are there and, where they speak of images, the pixels too, in full."""
        sizes = self._sizes()
        there = [plan for plan in plans if self._keys.rows(plan.number) in sizes]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = pool.map(lambda plan: self._counts(plan, dtype, sizes), there)
            return {plan: counts for plan, counts in zip(there, found, strict=True) if counts is not None}

    def put(self, shard: Shard) -> None:
        """The rows last: where they are, the pixels are."""
        number = shard.rows.plan.number
        if shard.npy:
            self._put(self._keys.pixels(number), shard.npy)
        self._put(self._keys.rows(number), shard.rows.encode())

    def put_manifest(self, manifest: Manifest) -> bool:
        """False where one was there already: the first one wins, and both say the same."""
        return put_once(self._s3, self._bucket, self._keys.manifest, manifest.encode(), TENSORS_TAG)

    def _put(self, key: str, body: bytes) -> None:
        self._s3.put_object(Bucket=self._bucket, Key=key, Body=body, Tagging=TENSORS_TAG)

    def _sizes(self) -> dict[str, int]:
        pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=self._keys.prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}

    def _counts(self, plan: ShardPlan, dtype: str, sizes: dict[str, int]) -> Counts | None:
        """Of a shard that need not be made again; None for one that is damaged, was cut otherwise, or just went."""
        try:
            answer = self._s3.get_object(Bucket=self._bucket, Key=self._keys.rows(plan.number))
            rows = ShardRows.decode(answer["Body"].read())
        except (BadShard, self._s3.exceptions.NoSuchKey):
            return None
        images = rows.counts.images
        wanted = rows.data_offset + images * rows.image_bytes if images else None
        same = rows.plan == plan and rows.dtype == dtype
        return rows.counts if same and (not images or sizes.get(self._keys.pixels(plan.number)) == wanted) else None
