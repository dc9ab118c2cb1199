"""The job that turns a zip in S3 into shards of pixels: what Glue runs, and the very file that runs locally.

    spark-submit --py-files modules.zip preprocess.py --bucket B --batch ID --key KEY --etag ETAG [--transform JSON]

The driver reads the zip's directory by ranges and cuts it into shards; each unfinished shard is one Spark task; the
manifest comes last. Whatever is there already is not made again, and two runs at once write the same bytes. Spark
repeats a task that fails, on a cluster three times (spark.task.maxFailures); in local mode only with local[N,FAILURES].
The last line of a failed run says why, in words: Glue shows it as the run's ErrorMessage.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from typing import Any

from contract.batches import UploadKey, dump
from contract.shards import DTYPES, Manifest
from contract.transform import TransformSpec
from contract.ziplist import BadZip, Entry, ShardPlan, plan_shards, read_directory
from glue_jobs.reports import Report
from glue_jobs.run import Arguments, JobFailed, Stopwatch, perform_all, summary
from glue_jobs.s3 import put_once, s3_client
from glue_jobs.source import SourceLost, usual_limits
from glue_jobs.tasks import Job, Work, perform


def read_arguments(argv: Sequence[str]) -> Job:
    """Glue adds arguments of its own, which are passed over. So is `--batch`: it is for people, the key says the same.

    Raises JobFailed.
    """
    parser = Arguments(allow_abbrev=False)
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
        entries = read_directory(source.read, size, usual_limits(size))
        plans = plan_shards(entries)
    with watch.stage("finished"):
        finished = store.finished(plans, job.dtype)
    reports = make_shards(job, entries, [plan for plan in plans if plan not in finished], watch)
    counts = finished | {report.plan: report.counts for report in reports}
    about = {"key": str(job.upload), "etag": job.etag, "size_bytes": size}
    with watch.stage("manifest"):
        manifest = Manifest(about, job.spec, job.dtype, tuple((plan, counts[plan]) for plan in plans))
        first = store.put_manifest(manifest)
    shards = {"made": len(reports), "kept": len(finished)}
    return summary(manifest.counts, reports, watch) | {"shards": shards, "zip_bytes": size, "manifest": first}


def make_shards(job: Job, entries: Sequence[Entry], plans: Sequence[ShardPlan], watch: Stopwatch) -> list[Report]:
    """One task a shard. Raises JobFailed."""
    works = [Work(plan, tuple(entries[plan.first : plan.last])) for plan in plans]
    failed = "A part of the zip could not be preprocessed."
    return perform_all("ninefold-preprocess", partial(perform, job), works, watch, failed)


def main(argv: Sequence[str]) -> None:
    """Runs the job. Raises JobFailed, with the message as its last line."""
    watch = Stopwatch()
    job = read_arguments(argv)
    # Whoever looks for a batch's log finds by this line the run's, whose other lines do not name it.
    print(json.dumps({"event": "started", "batch": job.upload.batch, "key": str(job.upload)}), flush=True)
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
    put_once(s3_client(), job.bucket, job.source_keys.error, body)


if __name__ == "__main__":
    main(sys.argv[1:])
