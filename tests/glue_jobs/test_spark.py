"""The job as AWS gets it, script and modules.zip, under real Spark: on two executors, again, and twice at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from contract.transform import to_pixels
from contract.ziplist import plan_shards, read_directory
from glue_jobs.images import make_shard
from tests import pictures, zips
from tests.glue_jobs.buckets import Bucket
from tests.glue_jobs.sparks import Run, Spark
from tests.zips import Member


def three_hundred_photos() -> bytes:
    odd = [
        Member("folder/"),
        Member("text.jpg", b"no picture"),
        Member("crc.jpg", pictures.jpeg((50, 40)), zips.STORED, crc=1),
        Member("__MACOSX/._0.jpg", b"x"),
    ]
    photos = [Member(f"photo {n}.jpg", pictures.jpeg((80 + n % 7, 60), n), zips.STORED) for n in range(300)]
    return zips.build([*photos[:100], *odd, *photos[100:]])


def start(spark: Spark, bucket: Bucket, etag: str, master: str, **settings: str) -> Run:
    return spark.start("preprocess.py", bucket.arguments(etag), bucket.env, master, **settings)


@pytest.fixture(scope="module")
def photos() -> bytes:
    return three_hundred_photos()


def executors(events: Path) -> list[str]:
    """Which executor did each task, by Spark's own log of events."""
    (log,) = [path for path in events.iterdir() if path.is_file()]
    lines = (json.loads(line) for line in log.read_text().splitlines())
    return [line["Task Info"]["Executor ID"] for line in lines if line["Event"] == "SparkListenerTaskEnd"]


def written(bucket: Bucket) -> Iterator[tuple[str, list[str]]]:
    """Every key under batches/ with the etags of all that was ever put there."""
    listed = bucket.s3.list_object_versions(Bucket=bucket.name, Prefix="batches/")["Versions"]
    for key in sorted({item["Key"] for item in listed}):
        yield key, [item["ETag"] for item in listed if item["Key"] == key]


def test_two_executors_twice_at_once_and_again(spark: Spark, bucket: Bucket, photos: bytes, tmp_path: Path) -> None:
    bucket.s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    etag = bucket.upload(photos)
    job = bucket.job(etag)
    log = {"eventLog_enabled": "true", "eventLog_dir": tmp_path.as_uri()}
    cluster = start(spark, bucket, etag, "local-cluster[2,1,512]", **log)
    local = start(spark, bucket, etag, "local[1]")
    with ThreadPoolExecutor(2) as pool:
        summaries = list(pool.map(Run.summary, [cluster, local]))

    # Both made everything, the one on two executors; the bytes are the same, and only one manifest was written.
    plans = plan_shards(read_directory(zips.Ranges(photos), len(photos)))
    assert [summary["shards"] for summary in summaries] == [{"made": len(plans), "kept": 0}] * 2
    assert sorted(summary["manifest"] for summary in summaries) == [False, True]
    assert len(executors(tmp_path)) == len(plans) and set(executors(tmp_path)) == {"0", "1"}
    assert len(summaries[0]["peak_rss_mb"]["workers"]) == 2
    for key, etags in written(bucket):
        assert len(etags) == (1 if key == job.tensor_keys.manifest else 2) and len(set(etags)) == 1, (key, etags)
    check_content(bucket, etag, photos)
    check_that_nothing_is_made_again(spark, bucket, etag)
    check_that_a_lost_shard_is_made_again(spark, bucket, etag)


def check_content(bucket: Bucket, etag: str, photos: bytes) -> None:
    """Counts, rows and pixels: what this process makes of the same zip, to the byte."""
    job, read = bucket.job(etag), zips.Ranges(photos)
    entries = read_directory(read, len(photos))
    manifest = bucket.manifest(job)
    assert (manifest.counts.images, manifest.counts.errors, manifest.counts.skipped) == (300, 2, 2)
    assert [plan for plan, _ in manifest.shards] == plan_shards(entries)
    names = []
    for plan, counts in manifest.shards:
        rows, pixels = bucket.shard(job, plan.number)
        assert rows.counts == counts
        names += [row["name"] for row in rows.rows]
        own = make_shard(plan, entries[plan.first : plan.last], read, job.spec, job.dtype)
        assert bucket.get(job.tensor_keys.pixels(plan.number)) == own.npy
        assert bucket.get(job.tensor_keys.rows(plan.number)) == own.rows.encode()
        expected = [
            to_pixels(pictures.jpeg((80 + number % 7, 60), number), job.spec)
            for number in (int(row["name"][6:-4]) for row in rows.rows if row["status"] == "ok")
        ]
        assert np.array_equal(pixels, np.stack(expected))
    assert names == [entry.name for entry in entries]


def check_that_nothing_is_made_again(spark: Spark, bucket: Bucket, etag: str) -> None:
    before = bucket.objects()
    summary = spark.start_without_spark("preprocess.py", bucket.arguments(etag), bucket.env).summary()
    assert summary["shards"]["made"] == 0 and summary["manifest"] is False and summary["images"] == 300
    assert bucket.objects() == before


def check_that_a_lost_shard_is_made_again(spark: Spark, bucket: Bucket, etag: str) -> None:
    keys, before = bucket.job(etag).tensor_keys, bucket.objects()
    for key in (keys.pixels(1), keys.rows(1)):
        bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    summary = start(spark, bucket, etag, "local[1]").summary()
    after = bucket.objects()
    assert summary["shards"] == {"made": 1, "kept": len(before) // 2 - 1}
    assert {key: tag for key, (tag, _) in after.items()} == {key: tag for key, (tag, _) in before.items()}
    assert {key for key in after if after[key] != before[key]} <= {keys.pixels(1), keys.rows(1)}
