from __future__ import annotations

from datetime import UTC, datetime

import pytest

from frontend.api import Api, Busy, Problem, Refused, Unreachable, VariantName
from frontend.batches import Batches, Counts, Limits, Notice, Progress
from tests.frontend.fake_batch_server import DROP, FakeBatchServer
from tests.frontend.fake_batches import Refusal, sample_rows

FP32 = VariantName("small", "fp32")


@pytest.fixture
def batches(cloud: FakeBatchServer) -> Batches:
    return Batches(Api(cloud.url), "https://public.example")


def test_a_listing_is_typed_newest_first(cloud: FakeBatchServer, batches: Batches) -> None:
    cloud.shelf.notice = {"message": "Spark is being installed.", "disposable": True}
    cloud.shelf.limit = 7
    cloud.shelf.add("a.zip")
    cloud.shelf.add("b.zip")
    listing = batches.all()
    assert [batch.name for batch in listing.batches] == ["b.zip", "a.zip"]
    assert listing.notice == Notice("Spark is being installed.", disposable=True)
    assert listing.limits == Limits(7, 100_000)
    assert listing.batches[1].created == datetime(2026, 11, 20, 13, 6, tzinfo=UTC)


def test_every_field_of_a_batch_is_read(cloud: FakeBatchServer, batches: Batches) -> None:
    batch = cloud.shelf.add("a.zip", 12, rows=sample_rows(100))
    batch.entries = 100
    batch.preprocessing(40, "2 of 5 parts", 12.5)
    (seen,) = batches.all().batches
    assert seen.progress == Progress("preprocessing", "2 of 5 parts", 40, 100, 12.5)
    assert (seen.size_bytes, seen.run, seen.moving, seen.predictable) == (12, "RUNNING", True, False)
    batch.failed("job_failed", "Out of memory.", restartable=True)
    (seen,) = batches.all().batches
    assert (seen.problem, seen.restartable, seen.progress) == (Problem("job_failed", "Out of memory."), True, None)
    batch.done()
    (seen,) = batches.all().batches
    assert (seen.images, seen.errors, seen.skipped) == (92, 4, 4)
    assert seen.finished[0].variant == FP32 and seen.finished[0].counts == Counts(92, 4, 4, 100)
    assert seen.expires.results == datetime(2026, 12, 21, 13, 6, tzinfo=UTC)


def test_predict_preprocess_and_delete_ask_what_they_say(cloud: FakeBatchServer, batches: Batches) -> None:
    batch = cloud.shelf.add("a.zip", rows=sample_rows(10))
    batch.ready()
    assert batches.predict(batch.id, FP32).state == "predicting"
    assert batch.predictions[0]["precision"] == "fp32"
    assert batches.preprocess(batch.id, "large").state == "preprocessing"
    assert "large" in batch.transforms
    batches.delete(batch.id)
    assert cloud.shelf.deleted == [batch.id]
    with pytest.raises(Refused, match="no such batch") as caught:
        batches.delete(batch.id)
    assert (caught.value.status, caught.value.code) == (404, "unknown_batch")


def test_another_transform_is_told_by_its_code(cloud: FakeBatchServer, batches: Batches) -> None:
    batch = cloud.shelf.add("a.zip")
    batch.ready()
    with pytest.raises(Refused, match="preprocess the zip") as caught:
        batches.predict(batch.id, VariantName("large", "fp32"))
    assert caught.value.code == "needs_preprocessing"


@pytest.mark.parametrize("code", ["storage_away", "batches_off"])
def test_what_is_away_is_told_by_its_code(cloud: FakeBatchServer, batches: Batches, code: str) -> None:
    cloud.prepared["GET /v1/batches"] = [Refusal(503, code, "Not now.")]
    with pytest.raises(Busy, match="Not now") as caught:
        batches.all()
    assert (caught.value.code, caught.value.retry_after) == (code, 1)


def test_a_connection_that_breaks_is_nobody_there(cloud: FakeBatchServer, batches: Batches) -> None:
    cloud.prepared["GET /v1/batches"] = [DROP]
    with pytest.raises(Unreachable):
        batches.all()


def test_rows_come_in_pieces_or_are_refused(cloud: FakeBatchServer, batches: Batches) -> None:
    batch = cloud.shelf.add("a.zip", rows=sample_rows(3))
    batch.done()
    with batches.rows(batch.id, FP32) as pieces:
        assert b"".join(pieces).count(b"\r\n") == 4
    with pytest.raises(Refused, match="no results"), batches.rows(batch.id, VariantName("small", "int8")):
        pass


def test_addresses_for_the_browser_are_public_and_quoted(batches: Batches) -> None:
    address = batches.download("a b/..", VariantName("m&m", "fp 32"), "json")
    assert address == "https://public.example/v1/batches/a%20b%2F../results?format=json&model=m%26m&precision=fp+32"
    assert batches.pixels("id")(7) == "https://public.example/v1/batches/id/pixels/7"
