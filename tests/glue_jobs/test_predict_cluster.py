"""predict.py, as AWS gets it, on a real standalone cluster: a master and two workers, processes of their own.

Its rows are held to those of a real server for the same zip, byte for byte.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from contract.batches import ResultKeys
from contract.result_rows import TOP_K
from contract.transform import to_pixels
from contract.ziplist import plan_shards, read_directory
from glue_jobs import listing, preprocess
from glue_jobs.tasks import Work, perform
from inference.artefacts import Artefact
from inference.classifier import top_k
from inference.openvino_classifier import OpenVinoClassifier
from tests import batches, pictures, servers, zips
from tests.glue_jobs.buckets import UPLOAD, Bucket
from tests.glue_jobs.sparks import Cluster, Run, Spark, cluster
from tests.localcloud.clouds import Cloud
from tests.zips import Member

PHOTOS = 96


def members() -> list[Member]:
    """Bitmaps: 16 MB of them, a part, are soon together."""
    photos = [
        Member(f"photo {n}.bmp", pictures.encode(pictures.photo((700, 500), n), "BMP"), zips.STORED)
        for n in range(PHOTOS)
    ]
    odd = [Member("folder/"), Member("text.jpg", b"text"), Member("crc.jpg", photos[0].data, zips.STORED, crc=1)]
    return [*photos[:20], *odd, *photos[20:], Member("b/._1.jpg", b"x"), Member("cut.jpg", pictures.jpeg()[:3000])]


@pytest.fixture(scope="module")
def archive() -> bytes:
    return zips.build(members())


@pytest.fixture(scope="module")
def two_workers(spark: Spark, storage: Cloud) -> Iterator[Cluster]:
    with cluster(spark, 2, storage.env) as running:
        yield running


def start(on: Cluster, bucket: Bucket, output: str, source: dict[str, str], **settings: str) -> Run:
    given = {"bucket": bucket.name, "model-dir": "models/", "output": output} | source
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    return on.spark.start("predict.py", words, bucket.env, on.url, **{"cores_max": "2"} | settings)


def by_a_server(bucket: Bucket, etag: str, models_dir: Path) -> dict[str, bytes]:
    """What a server writes for the zip, once it was preprocessed: its files of rows, and done.json."""
    job, s3 = bucket.job(etag), bucket.s3
    source = job.source(s3)
    entries = read_directory(source.read, source.size())
    for plan in plan_shards(entries):
        perform(job, Work(plan, tuple(entries[plan.first : plan.last])))
    preprocess.main(bucket.arguments(etag))
    settings = {"NINEFOLD_BUCKET": bucket.name, "NINEFOLD_S3_ENDPOINT": bucket.env["AWS_ENDPOINT_URL"]}
    more = {"NINEFOLD_THREADS": "2", "NINEFOLD_MODEL": "resnet18-seeded"}
    with servers.process(models_dir, **bucket.env, **settings, **more) as server:
        server.wait_ready()
        assert batches.predict(server, UPLOAD.batch).status_code == 202
        batches.wait_for(server, UPLOAD.batch, "done")
    return results(bucket, job.source_keys.results("resnet18-seeded", "fp32").prefix)


def results(bucket: Bucket, prefix: str) -> dict[str, bytes]:
    """Files of rows, and done.json."""
    return bucket.parts(prefix) | {"done.json": bucket.get(ResultKeys(prefix).done) or b""}


def test_two_runs_at_once_write_what_a_server_writes(
    two_workers: Cluster, bucket: Bucket, archive: bytes, seeded: Artefact, models_dir: Path
) -> None:
    etag = bucket.upload(archive)
    bucket.put_model(seeded)
    source = {"key": str(UPLOAD), "etag": etag}
    bucket.s3.put_bucket_versioning(Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"})
    runs = [start(two_workers, bucket, "out/", source, cores_max="1") for _ in range(2)]
    summaries = [run.summary() for run in runs]
    found = results(bucket, "out/")
    assert found == by_a_server(bucket, etag, models_dir)
    assert len(found) > 6 and [row["entry"] for row in bucket.rows("out/")] == list(range(PHOTOS + 5))
    for summary in summaries:
        assert (summary["images"], summary["errors"], summary["skipped"]) == (PHOTOS, 3, 2)
    check_versions(bucket, found)


def check_versions(bucket: Bucket, found: dict[str, bytes]) -> None:
    """Whoever wrote a file, and however often, wrote the same."""
    listed = bucket.s3.list_object_versions(Bucket=bucket.name, Prefix="out/")["Versions"]
    for name in found:
        etags = [item["ETag"] for item in listed if item["Key"] == f"out/{name}"]
        assert len(set(etags)) == 1, (name, etags)


def test_a_killed_worker_leaves_nothing_out(
    spark: Spark, bucket: Bucket, seeded: Artefact, archive: bytes, tmp_path: Path
) -> None:
    etag = bucket.upload(archive)
    bucket.put_model(seeded)
    with cluster(spark, 2, bucket.env) as on:
        log = {"eventLog_enabled": "true", "eventLog_dir": tmp_path.as_uri()}
        run = start(on, bucket, "out/", {"key": str(UPLOAD), "etag": etag}, **log)
        wait_for_a_part(bucket, run)
        assert on.kill_worker(0) >= 3  # the worker, its executor, their Python
        summary = run.summary()
    assert "ExecutorLostFailure" in ends_of_tasks(tmp_path)
    # Who is killed between its put and its answer leaves a part that is kept.
    made, kept = summary["parts"]["made"], summary["parts"]["kept"]
    assert made + kept == len(plan_shards(read_directory(zips.Ranges(archive), len(archive)))) and kept <= 1
    assert [row["entry"] for row in bucket.rows("out/")] == list(range(PHOTOS + 5))
    assert summary["images"] == PHOTOS and bucket.json("out/done.json")


def ends_of_tasks(events: Path) -> list[str]:
    """Why each of them ended, by Spark's own log of events."""
    (log,) = [path for path in events.iterdir() if path.is_file()]
    lines = (json.loads(line) for line in log.read_text().splitlines())
    return [line["Task End Reason"]["Reason"] for line in lines if line["Event"] == "SparkListenerTaskEnd"]


def wait_for_a_part(bucket: Bucket, run: Run) -> None:
    deadline = time.monotonic() + 120
    while not bucket.parts("out/"):
        assert run.process.poll() is None and time.monotonic() < deadline, "the run made no part"
        time.sleep(0.05)


def test_a_prefix_is_predicted_on_both_workers(two_workers: Cluster, bucket: Bucket, seeded: Artefact) -> None:
    bucket.put_model(seeded)
    photos = {f"{n:03d} ä.jpg": pictures.jpeg((240, 240), n) for n in range(8)}
    rest = {f"{n:03d}.txt": b"no picture" for n in range(2 * listing.PART_ENTRIES)}
    for name, data in (photos | rest).items():
        bucket.s3.put_object(Bucket=bucket.name, Key=f"photos/{name}", Body=data)
    summary = start(two_workers, bucket, "out/", {"prefix": "photos/"}).summary()
    assert bucket.rows("out/") == rows_by_hand(seeded, photos, sorted([*photos, *rest], key=str.encode))
    assert summary["parts"] == {"made": 3, "kept": 0} and len(summary["peak_rss_mb"]["workers"]) == 2
    assert bucket.json("out/done.json") == {
        "model": "resnet18-seeded",
        "precision": "fp32",
        "counts": {"images": 8, "errors": len(rest), "skipped": 0},
        "shards": 3,
    }


def rows_by_hand(artefact: Artefact, photos: dict[str, bytes], names: list[str]) -> list[dict[str, Any]]:
    classifier, spec = OpenVinoClassifier(artefact, threads=2), artefact.card.transform
    message = "The content is no picture in a format that is understood, whatever the file's name says. "
    error = {"code": "unsupported_format", "message": f"{message}Send a JPEG, PNG, WebP, GIF, BMP or AVIF."}
    rows: list[dict[str, Any]] = []
    for entry, name in enumerate(names):
        row: dict[str, Any] = {"entry": entry, "name": name}
        if name in photos:
            logits = classifier(to_pixels(photos[name], spec)[None])[0]
            predictions = [asdict(found) for found in top_k(logits, artefact.card.labels, TOP_K)]
            rows.append(row | {"status": "ok", "predictions": predictions})
        else:
            rows.append(row | {"status": "error", "error": error})
    return rows


def test_a_model_that_is_not_fit_ends_the_run_in_words(two_workers: Cluster, bucket: Bucket, seeded: Artefact) -> None:
    bucket.put_model(seeded)
    bucket.s3.put_object(Bucket=bucket.name, Key="models/model.bin", Body=b"other weights")
    bucket.s3.put_object(Bucket=bucket.name, Key="photos/a.jpg", Body=pictures.jpeg())
    said = start(two_workers, bucket, "out/", {"prefix": "photos/"}).failure()
    assert "The model under models/ is damaged." in said
    assert bucket.parts("out/") == {} and bucket.get("out/done.json") is None
    assert bucket.json("out/source.json") == {
        "source": {"prefix": "photos/", "entries": 1, "digest": Anything()},
        "model": "resnet18-seeded",
        "precision": "fp32",
        "card_sha256": Anything(),
    }


class Anything:
    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and len(other) == 64

    __hash__ = None  # type: ignore[assignment]  # equal to many
