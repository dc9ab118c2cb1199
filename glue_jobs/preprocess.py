"""The job that turns a zip in S3 into shards of pixels: what Glue runs, and the very file that runs locally.

    spark-submit --py-files modules.zip preprocess.py --bucket B --batch ID --key KEY --etag ETAG [--transform JSON]

The driver reads the zip's directory by ranges and cuts it into shards; each unfinished shard is one Spark task; the
manifest comes last. Whatever is there already is not made again, and two runs at once write the same bytes. Spark
repeats a task that fails, on a cluster three times (spark.task.maxFailures); in local mode only with local[N,FAILURES].
The last line of a failed run says why, in words: Glue shows it as the run's ErrorMessage.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn

from botocore.exceptions import ClientError

from contract.batches import UploadKey, dump
from contract.shards import DTYPES, Counts, Manifest
from contract.transform import TransformSpec
from contract.ziplist import BadZip, Entry, ShardPlan, ZipLimits, plan_shards, read_directory
from glue_jobs.source import SourceLost, s3_client
from glue_jobs.tasks import Job, Report, Work, peak_rss_mb, perform


class JobFailed(Exception):
    """Ends the run as failed; the message is one line, for a person."""


class _Parser(argparse.ArgumentParser):
    """argparse would end the process with a number for its last word."""

    def error(self, message: str) -> NoReturn:
        raise JobFailed(f"The run was started with wrong arguments: {message}")


class Stopwatch:
    """How long each stage took, in seconds."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures what happens within."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)

    def total(self) -> float:
        """Since the start."""
        return round(time.perf_counter() - self._begun, 3)


def read_arguments(argv: Sequence[str]) -> Job:
    """Glue adds arguments of its own, which are passed over. So is `--batch`: it is for people, the key says the same.

    Raises JobFailed.
    """
    parser = _Parser(allow_abbrev=False)
    for name in ("--bucket", "--key", "--etag"):
        parser.add_argument(name, required=True)
    parser.add_argument("--transform", default="")
    parser.add_argument("--tensor-dtype", choices=DTYPES, default="uint8")
    given, _ = parser.parse_known_args(argv)
    upload = UploadKey.parse(given.key)
    if upload is None:
        raise JobFailed(f"--key is {given.key!r}, not uploads/{{batch}}/{{file}}.zip")
    try:
        spec = TransformSpec.from_dict(json.loads(given.transform)) if given.transform else TransformSpec()
    except (ValueError, KeyError, TypeError) as error:
        raise JobFailed(f"--transform is {given.transform!r}, which is no transform: {error!r}") from None
    return Job(given.bucket, upload, given.etag.strip('"'), spec, given.tensor_dtype)


def preprocess(job: Job, watch: Stopwatch) -> dict[str, Any]:
    """Everything. Returns the summary for the log; raises JobFailed."""
    s3 = s3_client()
    source, store = job.source(s3), job.store(s3)
    with watch.stage("directory"):
        size = source.size()
        entries = read_directory(source.read, size, _limits(size))
        plans = plan_shards(entries)
    with watch.stage("finished"):
        finished = store.finished(plans, job.dtype)
    reports = make_shards(job, entries, [plan for plan in plans if plan not in finished], watch)
    counts = finished | {report.plan: report.counts for report in reports}
    about = {"key": str(job.upload), "etag": job.etag, "size_bytes": size}
    with watch.stage("manifest"):
        manifest = Manifest(about, job.spec, job.dtype, tuple((plan, counts[plan]) for plan in plans))
        first = store.put_manifest(manifest)
    return summary(manifest.counts, reports, len(finished), watch) | {"zip_bytes": size, "manifest": first}


def make_shards(job: Job, entries: Sequence[Entry], plans: Sequence[ShardPlan], watch: Stopwatch) -> list[Report]:
    """One task a shard; without any, Spark is not even started. Raises JobFailed."""
    if not plans:
        return []
    from pyspark.sql import SparkSession  # noqa: PLC0415  # only where Spark is

    with watch.stage("start_spark"):
        session = SparkSession.builder.appName("ninefold-preprocess").getOrCreate()
    works = [Work(plan, tuple(entries[plan.first : plan.last])) for plan in plans]
    try:
        session.sparkContext.setLogLevel("WARN")
        with watch.stage("shards"):
            reports: list[Report] = (
                session.sparkContext.parallelize(works, len(works)).map(partial(perform, job)).collect()
            )
    except Exception as error:
        raise JobFailed(f"A part of the zip could not be preprocessed. {cause(str(error))}") from error
    finally:
        session.stop()
    for report in reports:
        if report.stopped:
            raise JobFailed(report.stopped)
    return reports


def cause(text: str) -> str:
    """What a task's own Python said last; Spark wraps it into pages of its own."""
    traces = re.findall(r"Traceback \(most recent call last\):\n(.*?)(?:\n\s*\n|\n\tat |\Z)", text, re.DOTALL)
    lines = (traces[0] if traces else text).strip().splitlines() or ["Spark gave no reason."]
    return (lines[-1] if traces else lines[0]).strip()[:500]


def summary(counts: Counts, reports: Sequence[Report], kept: int, watch: Stopwatch) -> dict[str, Any]:
    """One line for the log, from which measurements are read: times in seconds, memory in MB."""
    made = sum(report.counts.images for report in reports)
    workers: dict[str, float] = {}
    for report in reports:
        workers[report.worker] = max(report.peak_rss_mb, workers.get(report.worker, 0))
    return {
        "event": "done",
        "entries": counts.entries,
        "images": counts.images,
        "errors": counts.errors,
        "skipped": counts.skipped,
        "shards": {"made": len(reports), "kept": kept},
        "seconds": watch.seconds | {"total": watch.total()},
        "task_seconds": {
            "read": round(sum(report.read_seconds for report in reports), 3),
            "decode": round(sum(report.decode_seconds for report in reports), 3),
            "write": round(sum(report.write_seconds for report in reports), 3),
            "cpu": round(sum(report.cpu_seconds for report in reports), 3),
        },
        "read_bytes": sum(report.read_bytes for report in reports),
        "images_per_second": round(made / watch.seconds["shards"], 1) if made else 0,
        "peak_rss_mb": {
            "driver": round(peak_rss_mb()),
            "workers": {worker: round(peak) for worker, peak in sorted(workers.items())},
        },
    }


def main(argv: Sequence[str]) -> None:
    """Runs the job. Raises JobFailed, with the message as its last line."""
    watch = Stopwatch()
    job = read_arguments(argv)
    try:
        done = preprocess(job, watch)
    except BadZip as refusal:
        refuse(job, refusal)
        raise JobFailed(refusal.message) from None
    except SourceLost as lost:
        raise JobFailed(str(lost)) from None
    print(json.dumps(done | {"batch": job.upload.batch}, ensure_ascii=False), flush=True)


def refuse(job: Job, refusal: BadZip) -> None:
    """Says so where the Lambda would have, unless that was said before."""
    body = dump({"code": refusal.code, "message": refusal.message})
    try:
        s3_client().put_object(Bucket=job.bucket, Key=job.source_keys.error, Body=body, IfNoneMatch="*")
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] not in (409, 412):
            raise


def _limits(size: int) -> ZipLimits:
    """Whether the zip is too large was decided before the run was paid for, perhaps by another setting."""
    usual = ZipLimits()
    return ZipLimits(max_bytes=max(size, usual.max_bytes))


if __name__ == "__main__":
    main(sys.argv[1:])
