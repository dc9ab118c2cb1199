from __future__ import annotations

import pytest

from frontend.api import Api, VariantName
from frontend.batches import Batches
from frontend.desk import Desk
from frontend.tokens import FRESH_SECONDS, Tokens
from tests.frontend.fake_batch_server import DROP, FakeBatchServer
from tests.frontend.fake_batches import Refusal, sample_rows
from tests.frontend.fake_server import FakeServer, Reply, busy


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def here(cloud: FakeBatchServer) -> Desk:
    api = Api(cloud.url)
    return Desk(api, Batches(api, cloud.url), clock=Clock())


def changed(here: Desk) -> bool:
    """Looks, and tells whether a page drawn earlier is out of date."""
    before = here.changes
    here.look(afresh=True)
    return here.changes != before


def test_progress_within_a_state_is_no_change_but_a_state_is(here: Desk, cloud: FakeBatchServer) -> None:
    batch = cloud.shelf.add("a.zip", rows=sample_rows(10))
    batch.preprocessing(1)
    assert changed(here)
    batch.preprocessing(5, "two parts", 7)
    assert not changed(here)
    assert here.listing and here.listing.batches[0].progress and here.listing.batches[0].progress.done == 5
    batch.ready()
    assert changed(here)
    batch.predicting("small", "fp32", 1)
    assert changed(here)
    batch.predicting("small", "fp32", 9)
    assert not changed(here)
    cloud.shelf.notice = {"message": "Hello", "disposable": False}
    assert changed(here)


def test_it_looks_as_often_as_makes_sense(here: Desk, cloud: FakeBatchServer) -> None:
    here.look()
    cloud.shelf.add("a.zip")
    here.look()
    assert here.listing and not here.listing.batches
    here.clock.now += 1  # type: ignore[attr-defined]
    here.look()
    assert len(here.listing.batches) == 1


@pytest.mark.parametrize(
    ("prepared", "kind"),
    [
        (DROP, "away"),
        (Refusal(503, "storage_away", "S3 is away."), "storage"),
        (Refusal(503, "batches_off", "Set NINEFOLD_BUCKET."), "off"),
        (Refusal(503, "not_ready", "Not yet."), "starting"),
        (Refusal(500, "internal", "Broken."), "other"),
    ],
)
def test_trouble_is_told_apart_and_what_was_seen_is_kept(
    here: Desk, cloud: FakeBatchServer, prepared: Refusal | int, kind: str
) -> None:
    cloud.shelf.add("a.zip")
    here.look(afresh=True)
    cloud.prepared["GET /v1/batches"] = [prepared]
    assert changed(here)
    assert here.trouble and here.trouble.kind == kind
    assert here.listing and len(here.listing.batches) == 1 and here.moving
    assert changed(here) and here.trouble is None


def test_the_newest_that_has_arrived_is_selected_where_nobody_chose(here: Desk, cloud: FakeBatchServer) -> None:
    old, _ = cloud.shelf.add("old.zip", state="ready"), cloud.shelf.add("new.zip")
    here.look()
    here.select_some()
    assert here.selected == old.id and here.current and here.current.name == "old.zip"
    cloud.shelf.add("newer.zip", state="ready")
    here.look(afresh=True)
    here.select_some()
    assert here.selected == old.id, "what is selected stays so"


def test_a_refusal_is_kept_in_words_until_another_batch_is_chosen(here: Desk, cloud: FakeBatchServer) -> None:
    batch = cloud.shelf.add("a.zip")
    here.select(batch.id)
    here.predict(VariantName("small", "fp32"))
    assert here.words == "The batch is created." and here.needs is None
    here.select("another")
    assert here.words == ""


def test_another_transform_offers_its_preprocessing(here: Desk, cloud: FakeBatchServer) -> None:
    batch = cloud.shelf.add("a.zip")
    batch.ready()
    here.select(batch.id)
    here.predict(VariantName("large", "fp32"))
    assert here.needs == "large" and "preprocess the zip" in here.words
    here.preprocess(here.needs)
    assert (here.needs, here.words, batch.state) == (None, "", "preprocessing")


def test_what_is_deleted_is_no_longer_selected_unless_it_is_still_there(here: Desk, cloud: FakeBatchServer) -> None:
    batch = cloud.shelf.add("a.zip")
    here.select(batch.id)
    cloud.prepared[f"DELETE /v1/batches/{batch.id}"] = [DROP]
    here.delete()
    assert here.selected == batch.id and here.words
    here.delete()
    assert here.selected is None and here.current is None


def test_only_models_that_are_there_may_be_asked(here: Desk, cloud: FakeBatchServer) -> None:
    cloud.prepared["GET /v1/models"] = [DROP]
    here.look_at_models()
    assert here.models is None
    here.look_at_models()
    assert here.models and [model.name for model in here.models] == ["small"]


def test_a_token_for_uploads_that_is_good_still_is_not_given_up_for_none(here: Desk, server: FakeServer) -> None:
    clock = here.clock
    here.batches.tokens = Tokens(Api(server.url, "nf_1_x"), clock)
    first, last = (
        Reply(201, {"token": word, "expires_at": "2030-01-01T00:00:00Z", "batch": "b"}) for word in ("t0", "t1")
    )
    server.prepared["/v1/tokens"] = [first, busy(503), last]
    assert here.upload_token() == "t0" and changed(here)
    clock.now += FRESH_SECONDS  # type: ignore[attr-defined]
    assert not changed(here) and here.upload_token() == "t0"
    clock.now += 3  # type: ignore[attr-defined]
    assert changed(here) and here.upload_token() == "t1"
