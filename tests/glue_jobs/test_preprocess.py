"""The driver, as far as it goes without Spark: arguments, refusals, and runs that find nothing left to make."""

from __future__ import annotations

import json
import sys

import pytest

from contract.transform import TransformSpec
from contract.ziplist import plan_shards, read_directory
from glue_jobs import preprocess, run
from glue_jobs.preprocess import read_arguments
from glue_jobs.run import JobFailed
from glue_jobs.source import usual_limits
from glue_jobs.tasks import Work, perform
from tests import pictures, zips
from tests.glue_jobs.buckets import UPLOAD, Bucket

PHOTOS = zips.of({f"{number}.jpg": pictures.jpeg((60, 50), number) for number in range(3)} | {"text.jpg": b"text"})
FAILED_TASK = """An error occurred while calling z:org.apache.spark.api.python.PythonRDD.collectAndServe.
: org.apache.spark.SparkException: Job aborted due to stage failure: Task 0 in stage 0.0 failed 4 times, most recent \
failure: Lost task 0.3 in stage 0.0 (TID 3) (10.0.0.7 executor 1): org.apache.spark.api.python.PythonException: \
Traceback (most recent call last):
  File "/opt/spark/python/lib/pyspark.zip/pyspark/worker.py", line 1247, in main
    process()
  File "/tmp/modules.zip/glue_jobs/tasks.py", line 99, in perform
    job.store(_client()).put(shard)
botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "https://s3.example/b/part-00000.npy"

\tat org.apache.spark.api.python.BasePythonRunner$ReaderIterator.handlePythonException(PythonRunner.scala:572)
Driver stacktrace:
\tat org.apache.spark.scheduler.DAGScheduler.failJobAndIndependentStages(DAGScheduler.scala:2856)
"""
LOST_EXECUTOR = (
    "Job aborted due to stage failure: ExecutorLostFailure (executor 1 exited) Reason: Command exited: 137\n\tat x"
)


def make_all(bucket: Bucket, etag: str) -> None:
    """The tasks of a run, without Spark."""
    job = bucket.job(etag)
    entries = read_directory(zips.Ranges(PHOTOS), len(PHOTOS))
    for plan in plan_shards(entries):
        report = perform(job, Work(plan, tuple(entries[plan.first : plan.last])))
        assert report.stopped is None and report.counts.images == 3 and report.read_bytes > 0


def test_arguments_as_glue_gives_them() -> None:
    spec = TransformSpec(resize=342, crop=299)
    given = {"--JOB_NAME": "x", "--bucket": "b", "--batch": "k-", "--key": "uploads/k-/a b.ZIP", "--etag": '"abc-3"'}
    given |= {"--transform": json.dumps(spec.to_dict()), "--tensor-dtype": "float16", "--enable-metrics": "true"}
    job = read_arguments([word for pair in given.items() for word in pair])
    assert (job.bucket, job.upload.batch, str(job.upload), job.etag) == ("b", "k-", "uploads/k-/a b.ZIP", "abc-3")
    assert job.spec == spec and job.dtype == "float16"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"key": "elsewhere/a.zip"}, "not uploads/"),
        ({"transform": "{"}, "no transform"),
        ({"transform": '{"resize": 1}'}, "no transform"),
        ({"tensor-dtype": "int3"}, "wrong arguments"),
    ],
)
def test_wrong_arguments_are_told_in_words(change: dict[str, str], words: str) -> None:
    given = {"bucket": "b", "key": str(UPLOAD), "etag": "e"} | change
    with pytest.raises(JobFailed, match=words):
        read_arguments([word for name, value in given.items() for word in (f"--{name}", value)])
    with pytest.raises(JobFailed, match="--etag"):
        read_arguments(["--bucket", "b", "--key", str(UPLOAD)])


def test_a_refused_zip_fails_the_run_and_says_why_as_the_lambda_would(bucket: Bucket) -> None:
    etag = bucket.upload(b"no zip at all")
    for _ in range(2):
        with pytest.raises(JobFailed, match="The file is no zip archive"):
            preprocess.main(bucket.arguments(etag))
    error = bucket.json(bucket.source_keys(etag).error)
    assert error and error["code"] == "not_a_zip"
    assert list(bucket.objects()) == [bucket.source_keys(etag).error]


def test_a_zip_that_was_let_through_by_a_higher_limit_is_not_refused_here(bucket: Bucket) -> None:
    limits = usual_limits(2_000_000_000)
    assert limits.max_bytes == 2_000_000_000 and usual_limits(1).max_bytes == 500_000_000


def test_a_replaced_zip_fails_the_run(bucket: Bucket) -> None:
    etag = bucket.upload(PHOTOS)
    bucket.upload(b"another")
    with pytest.raises(JobFailed, match="was replaced"):
        preprocess.main(bucket.arguments(etag))
    assert bucket.objects() == {}


def test_a_task_whose_zip_was_replaced_answers_instead_of_being_repeated(bucket: Bucket) -> None:
    etag = bucket.upload(PHOTOS)
    entries = read_directory(zips.Ranges(PHOTOS), len(PHOTOS))
    bucket.upload(b"another")
    report = perform(bucket.job(etag), Work(plan_shards(entries)[0], tuple(entries)))
    assert report.stopped and "was replaced" in report.stopped and bucket.objects() == {}


def test_a_run_with_nothing_left_to_make_needs_no_spark(bucket: Bucket, capsys: pytest.CaptureFixture[str]) -> None:
    assert "pyspark" not in sys.modules
    etag = bucket.upload(PHOTOS)
    make_all(bucket, etag)
    before = bucket.objects()
    preprocess.main(bucket.arguments(etag))
    preprocess.main(bucket.arguments(etag))
    begun, first, _, second = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert begun == {"event": "started", "batch": UPLOAD.batch, "key": str(UPLOAD)}
    assert first["batch"] == second["batch"] == UPLOAD.batch
    assert first["shards"] == second["shards"] == {"made": 0, "kept": 1}
    assert (first["manifest"], second["manifest"]) == (True, False)
    assert (first["images"], first["errors"], first["skipped"], first["entries"]) == (3, 1, 0, 4)
    assert set(bucket.objects()) - set(before) == {bucket.job(etag).tensor_keys.manifest}
    manifest = bucket.manifest(bucket.job(etag))
    assert manifest.source == {"key": str(UPLOAD), "etag": etag, "size_bytes": len(PHOTOS)}
    assert "pyspark" not in sys.modules


def test_the_last_words_of_a_task_are_those_of_the_run() -> None:
    assert run.cause(FAILED_TASK) == (
        "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL: "
        '"https://s3.example/b/part-00000.npy"'
    )
    assert run.cause(LOST_EXECUTOR).endswith("Reason: Command exited: 137")
    assert run.cause("") == "Spark gave no reason."
