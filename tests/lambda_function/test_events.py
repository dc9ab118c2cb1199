"""Which records ask for something, and which zips are refused before a run is paid for."""

from __future__ import annotations

import json
from typing import Any

import pytest
import start_preprocessing

from contract.transform import TransformSpec
from tests import pictures, zips
from tests.lambda_function.deliveries import EVENTS, LIMIT, PHOTOS, CountingGlue, Deliveries

JPEG = pictures.jpeg((64, 48))


def refusal(deliveries: Deliveries, body: bytes, **environment: str) -> dict[str, Any]:
    """The error.json of a zip that is refused, delivered twice; no run is started, and nothing else is written."""
    etag, glue = deliveries.upload("uploads/bad/bad.zip", body), CountingGlue()
    event = deliveries.event("uploads/bad/bad.zip")
    assert deliveries.deliver(event, glue, **environment) == ["refused"]
    assert deliveries.deliver(event, glue) == ["duplicate"]  # for good: the same bytes are not looked at again
    key = deliveries.keys("bad", etag).error
    assert glue.started == [] and deliveries.names() == [key]
    error = deliveries.json(key)
    assert error and list(error) == ["code", "message"] and error["message"].endswith(".")
    return error


@pytest.mark.parametrize(
    "key",
    [
        "uploads/01JNB5Q7V3X8Z2K4M6P9R1T0WD/photos.zip",
        "uploads/01JNB5Q7V3X8Z2K4M6P9R1T0WD/my holiday photos.zip",
        "uploads/a/100% + more & less = räksmörgås 写真.zip",
        "uploads/a/a+b%20c.ZIP",
        "uploads/drop-in_of.2026/x.zip",
        "uploads/_-/x.zip",
        f"uploads/{'x' * 64}/x.zip",
    ],
)
@pytest.mark.parametrize("name", ["put", "multipart", "moto"])
def test_keys_arrive_encoded_in_more_than_one_way(deliveries: Deliveries, key: str, name: str) -> None:
    deliveries.upload(key)
    glue = CountingGlue()
    assert deliveries.deliver(deliveries.event(key, name), glue) == ["started"]
    assert glue.started[0][1]["--key"] == key and glue.started[0][1]["--batch"] == key.split("/")[1]


@pytest.mark.parametrize(
    "key",
    [
        "uploads/photos.zip",
        "uploads/a/b/photos.zip",
        "uploads/a b/photos.zip",
        "uploads/../photos.zip",
        "uploads/-/photos.zip",
        f"uploads/{'x' * 65}/photos.zip",
        "uploads/ä/photos.zip",
        "uploads/a/photos.jpg",
        "uploads/a/.zip",
        "batches/a/photos.zip",
        "code/lambda.zip",
    ],
)
def test_a_key_that_makes_no_batch_is_passed_over(
    deliveries: Deliveries, key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    glue = CountingGlue()
    assert deliveries.deliver(deliveries.event(key, size=9, eTag="0" * 32), glue) == ["passed_over"]
    logged = json.loads(capsys.readouterr().out)
    assert logged["event"] == "passed_over" and logged["key"] == key and logged["request"] == "a-request"
    assert glue.started == [] and deliveries.names() == []


def test_s3s_own_test_event_and_deletions_ask_for_nothing(deliveries: Deliveries) -> None:
    deliveries.upload("uploads/a/photos.zip")
    glue = CountingGlue()
    assert deliveries.deliver(json.loads((EVENTS / "test.json").read_text()), glue) == []
    assert deliveries.deliver(deliveries.event("uploads/a/photos.zip", "removed"), glue) == ["passed_over"]
    assert glue.started == [] and deliveries.names() == []


def test_an_object_that_is_gone_is_passed_over(deliveries: Deliveries) -> None:
    deliveries.upload("uploads/a/photos.zip")
    event, glue = deliveries.event("uploads/a/photos.zip"), CountingGlue()
    deliveries.s3.delete_object(Bucket=deliveries.bucket, Key="uploads/a/photos.zip")
    assert deliveries.deliver(event, glue) == ["passed_over"]
    assert glue.started == [] and deliveries.names() == []


def test_every_record_has_its_turn_before_a_failure_is_raised(deliveries: Deliveries) -> None:
    for key in ("uploads/a/a.zip", "uploads/b/b.zip", "uploads/c/c.zip", "uploads/d/d.zip"):
        deliveries.upload(key, b"no zip" if "/c/" in key else PHOTOS)
    records = [deliveries.event(f"uploads/{name}/{name}.zip")["Records"][0] for name in "abcd"]
    broken = {"eventName": "ObjectCreated:Put", "s3": {}}
    glue = CountingGlue(LIMIT)
    with pytest.raises(type(LIMIT)):
        deliveries.deliver({"Records": [records[0], broken, *records[1:]]}, glue)
    assert [arguments["--batch"] for _, arguments in glue.started] == ["b", "d"]
    assert deliveries.json(deliveries.keys("c", records[2]["s3"]["object"]["eTag"]).error)
    assert deliveries.deliver({"Records": records}, glue) == ["started", "duplicate", "duplicate", "duplicate"]


def test_the_transform_of_the_settings_goes_to_the_run(deliveries: Deliveries) -> None:
    deliveries.upload("uploads/a/photos.zip")
    transform, glue = json.dumps(TransformSpec(resize=320, crop=299).to_dict()), CountingGlue()
    deliveries.deliver(deliveries.event("uploads/a/photos.zip"), glue, NINEFOLD_TRANSFORM=transform)
    assert glue.started[0][1]["--transform"] == transform


def encrypted() -> bytes:
    return zips.build([zips.zipcrypto(zips.Member(f"{number}.jpg", JPEG)) for number in range(3)])


REFUSED = {
    "empty_file": lambda: b"",
    "empty_zip": lambda: zips.of({}),
    "not_a_zip": lambda: JPEG,
    "truncated_zip": lambda: PHOTOS[: len(PHOTOS) // 2],
    "too_many_entries": lambda: zips.many(100_001, wide=True),
    "overlapping_entries": lambda: zips.quoted_overlap(20, 1000),
    "zip_bomb": lambda: zips.build([zips.Member(f"{n}.bmp", bytes(1000), size=24_000_000) for n in range(1000)]),
    "no_pictures": lambda: zips.of({"folder/": b"", "__MACOSX/._a.jpg": b"x", ".DS_Store": b"x", "b.zip": PHOTOS}),
    "encrypted": encrypted,
    "damaged_directory": lambda: zips.build([zips.Member("a.jpg", JPEG)], count=3),
    "multi_volume": lambda: zips.build([zips.Member("a.jpg", JPEG)], disk=1),
}


@pytest.mark.parametrize("code", REFUSED)
def test_a_zip_that_cannot_be_is_refused_and_no_run_is_paid_for(deliveries: Deliveries, code: str) -> None:
    assert refusal(deliveries, REFUSED[code]())["code"] == code


def test_a_zip_that_is_too_large_is_refused(deliveries: Deliveries) -> None:
    error = refusal(deliveries, PHOTOS, NINEFOLD_MAX_ZIP_MB="0.001")
    assert error["code"] == "zip_too_large"


def test_a_zip_that_is_too_large_by_its_event_is_refused(deliveries: Deliveries) -> None:
    etag = deliveries.upload("uploads/a/a.zip")
    event = deliveries.event("uploads/a/a.zip", eTag=etag, size=500_000_001)
    assert deliveries.deliver(event, CountingGlue()) == ["refused"]
    event = deliveries.event("uploads/a/a.zip", eTag=etag, size=500_000_000)
    assert deliveries.deliver(event, CountingGlue()) == ["duplicate"]


def test_the_most_entries_are_accepted(deliveries: Deliveries) -> None:
    deliveries.upload("uploads/a/a.zip", zips.many(100_000, wide=True))
    glue = CountingGlue()
    assert deliveries.deliver(deliveries.event("uploads/a/a.zip"), glue) == ["started"]
    run = deliveries.json(deliveries.keys("a", glue.started[0][1]["--etag"]).run)
    assert run and sum(run["shards"]) == 100_000


def test_the_handler_reads_its_settings_when_it_is_called(
    deliveries: Deliveries, monkeypatch: pytest.MonkeyPatch
) -> None:
    glue = CountingGlue()
    deliveries.upload("uploads/a/photos.zip")
    monkeypatch.delenv("GLUE_JOB", raising=False)
    clients = {"s3": deliveries.s3, "glue": glue}
    monkeypatch.setattr(start_preprocessing.boto3, "client", lambda name, **_: clients[name])
    with pytest.raises(KeyError, match="GLUE_JOB"):
        start_preprocessing.handler(deliveries.event("uploads/a/photos.zip"), None)
    monkeypatch.setenv("GLUE_JOB", "another-job")
    answer = start_preprocessing.handler(deliveries.event("uploads/a/photos.zip"), None)
    assert answer == {"outcomes": ["started"]} and glue.started[0][0] == "another-job"
