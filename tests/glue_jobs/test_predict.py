"""predict.py as far as it goes without Spark: arguments, refusals, the model, and tasks, one by one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from contract.batches import ResultKeys
from contract.result_rows import TOP_K
from contract.shards import Counts
from contract.transform import BadImage, to_pixels
from glue_jobs import model, predict
from glue_jobs.model import ModelPlace, Unfit, find_model, worker_model
from glue_jobs.predict import read_arguments
from glue_jobs.predictions import Job, Prefix, Zip, perform
from glue_jobs.reports import Report
from glue_jobs.run import JobFailed
from glue_jobs.s3 import s3_client
from inference.artefacts import Artefact
from inference.card import CARD_NAME
from inference.classifier import top_k
from inference.openvino_classifier import OpenVinoClassifier
from tests import pictures, zips
from tests.glue_jobs.buckets import UPLOAD, Bucket
from tests.zips import Member

PICTURES = {
    "a/": b"",
    "a/0.jpg": pictures.jpeg((300, 260), 0),
    "a/1.png": pictures.encode(pictures.photo((240, 300), 1), "PNG"),
    "a/broken.jpg": pictures.jpeg((300, 260), 2)[:2000],
    "a/text.jpg": b"no picture",
    "b/._0.jpg": b"x",
}


@pytest.fixture(autouse=True)
def own_executor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a Python worker that was just started."""
    monkeypatch.setenv("SPARK_LOCAL_DIRS", str(tmp_path))
    for cached in (worker_model, model.worker_client):
        cached.cache_clear()


@pytest.fixture
def place(bucket: Bucket, seeded: Artefact, tmp_path: Path) -> ModelPlace:
    (tmp_path / "card").mkdir()
    return find_model(s3_client(), bucket.name, bucket.put_model(seeded), tmp_path / "card")[0]


def put_pictures(bucket: Bucket) -> None:
    for name, body in PICTURES.items():
        bucket.s3.put_object(Bucket=bucket.name, Key=f"photos/{name}", Body=body)


def arguments(bucket: Bucket, **more: str) -> list[str]:
    given = {"bucket": bucket.name, "model-dir": "models/", "output": "out/", "JOB_NAME": "the-job"} | more
    return [word for name, value in given.items() for word in (f"--{name}", value)]


def run_tasks(bucket: Bucket, source: Zip | Prefix, place: ModelPlace) -> list[Report]:
    """Those of a run, without Spark."""
    job: Job[Any] = Job(source, place, ResultKeys("out/"))
    return [perform(job, work) for work in source.parts(bucket.s3)[1]]


def expected(artefact: Artefact) -> list[dict[str, Any]]:
    """Rows of PICTURES, made by hand."""
    classifier = OpenVinoClassifier(artefact, threads=2)
    rows: list[dict[str, Any]] = []
    for entry, (name, data) in enumerate(PICTURES.items()):
        row: dict[str, Any] = {"entry": entry, "name": name}
        if name.endswith("/") or "._" in name:
            rows.append(row | {"status": "skipped", "reason": "folder" if name[-1] == "/" else "macos_metadata"})
            continue
        try:
            logits = classifier(to_pixels(data, artefact.card.transform)[None])[0]
        except BadImage as error:
            rows.append(row | {"status": "error", "error": {"code": error.code, "message": error.message}})
            continue
        predictions = [asdict(found) for found in top_k(logits, artefact.card.labels, TOP_K)]
        rows.append(row | {"status": "ok", "predictions": predictions})
    return rows


def test_a_zip_and_a_prefix_of_the_same_pictures_have_the_same_rows(
    bucket: Bucket, place: ModelPlace, seeded: Artefact
) -> None:
    etag = bucket.upload(zips.of(PICTURES))
    put_pictures(bucket)
    rows = expected(seeded)
    assert [row["status"] for row in rows] == ["skipped", "ok", "ok", "error", "error", "skipped"]
    for source in (Zip(bucket.name, str(UPLOAD), etag), Prefix(bucket.name, "photos/")):
        (report,) = run_tasks(bucket, source, place)
        assert (report.counts, report.kept, report.stopped) == (Counts(2, 2, 2), False, None)
        assert set(report.seconds) == {"model", "decode", "read", "classify", "write", "cpu"}
        assert bucket.rows("out/") == rows
        before = bucket.parts("out/")
        (again,) = run_tasks(bucket, source, place)
        assert again.kept and again.counts == report.counts
        bucket.s3.delete_object(Bucket=bucket.name, Key="out/part-00000.jsonl")
        run_tasks(bucket, source, place)
        assert bucket.parts("out/") == before
        bucket.s3.delete_object(Bucket=bucket.name, Key="out/part-00000.jsonl")


def test_a_part_that_is_not_whole_is_made_again(bucket: Bucket, place: ModelPlace) -> None:
    put_pictures(bucket)
    source = Prefix(bucket.name, "photos/")
    run_tasks(bucket, source, place)
    whole = bucket.parts("out/")["part-00000.jsonl"]
    for damaged in (whole[:-20], b"\n".join(whole.splitlines()[:-1]), b"", b"[]\n", b"7"):
        bucket.s3.put_object(Bucket=bucket.name, Key="out/part-00000.jsonl", Body=damaged)
        (report,) = run_tasks(bucket, source, place)
        assert not report.kept and bucket.parts("out/")["part-00000.jsonl"] == whole


def test_an_entry_of_a_zip_that_cannot_be_had_is_a_row(bucket: Bucket, place: ModelPlace) -> None:
    data = zips.build([Member("crc.jpg", PICTURES["a/0.jpg"], crc=1), Member("0.jpg", PICTURES["a/0.jpg"])])
    run_tasks(bucket, Zip(bucket.name, str(UPLOAD), bucket.upload(data)), place)
    first, second = bucket.rows("out/")
    assert first["error"]["code"] == "wrong_crc" and second["status"] == "ok"


def test_the_model_is_fetched_once_for_all_workers_of_an_executor(
    bucket: Bucket, place: ModelPlace, tmp_path: Path
) -> None:
    worker_model(place)
    for key in ("models/model.bin", "models/card.json"):
        bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    worker_model.cache_clear()
    assert worker_model(place).spec.crop == 224
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [
        "card",
        f"ninefold-{place.card_sha256[:16]}",
    ]


@pytest.mark.parametrize("damage", ["model.bin", "golden.jpg", "no model.xml", "card", "another answer"])
def test_a_model_that_is_not_what_its_card_says_answers_nothing(
    bucket: Bucket, seeded: Artefact, place: ModelPlace, damage: str, tmp_path: Path
) -> None:
    put_pictures(bucket)
    words = "is damaged"
    if damage == "no model.xml":
        bucket.s3.delete_object(Bucket=bucket.name, Key="models/model.xml")
        words = "There is no models/model.xml"
    elif damage == "card":
        bucket.s3.put_object(Bucket=bucket.name, Key="models/card.json", Body=b"{}")
        words = "was replaced during the run"
    elif damage == "another answer":
        place, words = wrong_golden(bucket, seeded, tmp_path), "calls its golden image"
    else:
        bucket.s3.put_object(Bucket=bucket.name, Key=f"models/{damage}", Body=b"something else")
    (report,) = run_tasks(bucket, Prefix(bucket.name, "photos/"), place)
    assert report.stopped and words in report.stopped, report.stopped
    assert bucket.parts("out/") == {}


def wrong_golden(bucket: Bucket, artefact: Artefact, folder: Path) -> ModelPlace:
    """A model whose card expects another answer."""
    golden = artefact.card.golden
    other = replace(golden.predictions[0], index=(golden.predictions[0].index + 1) % 1000)
    card = replace(artefact.card, golden=replace(golden, predictions=(other, *golden.predictions[1:])))
    card.write(folder)
    bucket.s3.put_object(Bucket=bucket.name, Key="models/card.json", Body=(folder / CARD_NAME).read_bytes())
    (folder / "other").mkdir()
    return find_model(s3_client(), bucket.name, "models/", folder / "other")[0]


def test_a_source_that_changed_stops_its_task(bucket: Bucket, place: ModelPlace) -> None:
    put_pictures(bucket)
    etag = bucket.upload(zips.of(PICTURES))
    sources: list[Zip | Prefix] = [Zip(bucket.name, str(UPLOAD), etag), Prefix(bucket.name, "photos/")]
    planned = [(source, source.parts(bucket.s3)[1][0]) for source in sources]
    bucket.s3.put_object(Bucket=bucket.name, Key="photos/a/0.jpg", Body=b"another")
    bucket.upload(b"another")
    for source, work in planned:
        job: Job[Any] = Job(source, place, ResultKeys("out/"))
        report = perform(job, work)
        assert report.stopped and ("was replaced" in report.stopped or "changed" in report.stopped)
    assert bucket.parts("out/") == {}


def finish(bucket: Bucket, source: Zip | Prefix, place: ModelPlace) -> None:
    """What a run leaves: source.json, its parts and done.json."""
    request, variant = (
        read_arguments(arguments(bucket, prefix="photos")),
        {"model": "resnet18-seeded", "precision": "fp32"},
    )
    about, _ = request.source.parts(s3_client())
    predict._settle(s3_client(), request, {"source": about, **variant, "card_sha256": place.card_sha256})
    counts = sum((report.counts for report in run_tasks(bucket, source, place)), Counts(0, 0, 0))
    done = {**variant, "counts": asdict(counts), "shards": 1}
    bucket.s3.put_object(Bucket=bucket.name, Key="out/done.json", Body=json.dumps(done).encode())


def test_what_no_run_of_this_job_made_is_not_taken_for_its_own(bucket: Bucket, place: ModelPlace) -> None:
    put_pictures(bucket)
    bucket.s3.put_object(Bucket=bucket.name, Key="out/done.json", Body=b'{"counts": {}}')
    with pytest.raises(JobFailed, match="no run of this job made"):
        predict.main(arguments(bucket, prefix="photos"))
    assert bucket.json("out/source.json") is None


def test_a_finished_run_needs_no_spark_and_other_pictures_another_output(
    bucket: Bucket, place: ModelPlace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "pyspark" not in sys.modules
    put_pictures(bucket)
    finish(bucket, Prefix(bucket.name, "photos/"), place)
    predict.main(arguments(bucket, prefix="photos"))
    said = json.loads(capsys.readouterr().out)
    assert said["parts"] == {"made": 0, "kept": 1} and said["images_per_second"] == 0
    assert (said["images"], said["errors"], said["skipped"], said["entries"]) == (2, 2, 2, 6)
    assert (said["model"], said["precision"], said["output"]) == ("resnet18-seeded", "fp32", "out/")
    about = bucket.json("out/source.json")
    assert about and about["source"]["entries"] == 6 and about["card_sha256"] == place.card_sha256

    bucket.s3.put_object(Bucket=bucket.name, Key="photos/one-more.jpg", Body=b"x")
    with pytest.raises(JobFailed, match="lie predictions of something else"):
        predict.main(arguments(bucket, prefix="photos/"))
    assert bucket.json("out/source.json") == about
    assert "pyspark" not in sys.modules


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({}, "one of the arguments --key --prefix is required"),
        ({"prefix": "p/", "key": "k", "etag": "e"}, "not allowed with"),
        ({"key": "k"}, "--key needs --etag"),
        ({"prefix": "out"}, "lies among the pictures"),
        ({"prefix": "o", "output": "o/deep/"}, "lies among the pictures"),
        ({"prefix": "/"}, "lies among the pictures"),
    ],
)
def test_wrong_arguments_are_told_in_words(bucket: Bucket, change: dict[str, str], words: str) -> None:
    with pytest.raises(JobFailed, match=words):
        predict.main(arguments(bucket, **change))
    assert bucket.s3.list_objects_v2(Bucket=bucket.name)["KeyCount"] == 0


def test_slashes_and_quotes_are_put_right() -> None:
    given = ["--bucket", "b", "--model-dir", "/m/int8", "--output", "o", "--etag", '"e-2"', "--key", "any/where.zip"]
    request = read_arguments(given)
    assert (request.model_dir, request.output) == ("m/int8/", "o/")
    assert request.source == Zip("b", "any/where.zip", "e-2")
    assert read_arguments([*given[:6], "--prefix", "/p"]).source == Prefix("b", "p/")


def test_what_is_not_there_fails_the_run_in_words(bucket: Bucket, seeded: Artefact) -> None:
    with pytest.raises(JobFailed, match=r"There is no models/card\.json in the bucket"):
        predict.main(arguments(bucket, prefix="photos/"))
    bucket.put_model(seeded)
    with pytest.raises(JobFailed, match="There is nothing under photos/ in the bucket"):
        predict.main(arguments(bucket, prefix="photos/"))
    with pytest.raises(JobFailed, match="The zip was deleted"):
        predict.main(arguments(bucket, key="no.zip", etag="e"))
    with pytest.raises(JobFailed, match="The file is no zip archive"):
        predict.main(arguments(bucket, key=str(UPLOAD), etag=bucket.upload(b"no zip at all")))
    bucket.s3.put_object(Bucket=bucket.name, Key="models/card.json", Body=b"{}")
    with pytest.raises(JobFailed, match="cannot be read"):
        predict.main(arguments(bucket, prefix="photos/"))


def test_a_model_is_not_used_before_it_is_whole(place: ModelPlace, tmp_path: Path) -> None:
    def breaks(folder: Path) -> None:
        (folder / "card.json").write_text("half")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        model._fetched_once(place, breaks)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == ["card"]
    with pytest.raises(Unfit):
        worker_model(replace(place, card_sha256="0" * 64))
