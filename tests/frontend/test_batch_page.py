"""The batch page's reactions without a browser: the upload and all that is seen are in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from frontend.batches import Limits
from frontend.uploader import Told, told
from tests.frontend.fake_batch_server import DROP, FakeBatchServer
from tests.frontend.fake_batches import FakeBatch, Refusal, sample_rows

APP = Path(__file__).parents[2] / "frontend" / "app.py"


@pytest.fixture
def page(cloud: FakeBatchServer, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """The batch page, not yet run."""
    monkeypatch.setenv("NINEFOLD_API_URL", cloud.url)
    monkeypatch.delenv("NINEFOLD_PUBLIC_API_URL", raising=False)
    return AppTest.from_file(str(APP), default_timeout=60).switch_page("views/batch.py")


def words(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def ready(cloud: FakeBatchServer, name: str = "a.zip") -> FakeBatch:
    batch = cloud.shelf.add(name, rows=sample_rows(100))
    batch.ready()
    return batch


def test_the_empty_page_says_how_a_zip_gets_here(page: AppTest) -> None:
    shown = words(page.run())
    assert "No batches yet" in shown and "s3://BUCKET/uploads/NAME/" in shown
    assert "Up to 500 MB and 100,000 files" in shown
    assert len(page.get("bidi_component")) == 1


def test_the_operators_words_are_shown(page: AppTest, cloud: FakeBatchServer) -> None:
    cloud.shelf.notice = {"message": "Spark is being installed (step 2).", "disposable": True}
    shown = words(page.run())
    assert "Spark is being installed (step 2)." in shown and "only as long as the application runs" in shown


@pytest.mark.parametrize(
    ("prepared", "said"),
    [
        (DROP, "The server is away."),
        (Refusal(503, "storage_away", "S3 does not answer."), "The storage is away. S3 does not answer."),
        (Refusal(503, "batches_off", "Set NINEFOLD_BUCKET."), "Batches are switched off here. Set NINEFOLD_BUCKET."),
        (Refusal(503, "not_ready", "Loading."), "The server is getting ready."),
        (Refusal(500, "internal", "It broke."), "The server said: It broke."),
    ],
)
def test_what_is_away_is_said_and_is_no_traceback(
    page: AppTest, cloud: FakeBatchServer, prepared: Refusal | int, said: str
) -> None:
    cloud.prepared["GET /v1/batches"] = [prepared] * 9
    assert said in words(page.run())


def test_where_batches_are_off_there_is_nothing_to_upload_to(page: AppTest, cloud: FakeBatchServer) -> None:
    cloud.prepared["GET /v1/batches"] = [Refusal(503, "batches_off", "Set NINEFOLD_BUCKET.")] * 9
    assert not page.run().get("bidi_component")


def test_predict_asks_for_the_default_variant(page: AppTest, cloud: FakeBatchServer) -> None:
    batch = ready(cloud)
    page.run().button(key="batch-predict").click().run()
    assert batch.predictions[0]["precision"] == "fp32"
    assert "0 of 100" in words(page)


def test_model_and_precision_are_named_before_they_are_asked_and_at_their_results(
    page: AppTest, cloud: FakeBatchServer
) -> None:
    ready(cloud).done()
    shown = words(page.run())
    assert '<div class="nf-by">Small <span class="nf-chip">fp32</span></div>' in shown
    assert '1–40 of 100 files</div><div class="nf-by">small <span class="nf-chip">fp32</span></div>' in shown


def test_another_model_and_precision_may_be_chosen(page: AppTest, cloud: FakeBatchServer) -> None:
    cloud.models[1] |= {"status": "ready", "variants": [{"precision": "fp16", "default": True}]}
    batch = ready(cloud)
    page.run()
    assert page.selectbox(key="batch-model").value == "small"
    page.selectbox(key="batch-model").select("large").run()
    page.button(key="batch-predict").click().run()
    assert "preprocess the zip for it first" in words(page)
    page.button(key="preprocess-for").click().run()
    assert batch.transforms == {"small", "large"} and batch.state == "preprocessing"
    assert "the job is starting" in words(page)


def test_a_variant_that_is_there_is_not_predicted_again(page: AppTest, cloud: FakeBatchServer) -> None:
    ready(cloud).done()
    assert page.run().button(key="batch-predict").disabled
    page.segmented_control(key="batch-precision-small").set_value("int8").run()
    assert not page.button(key="batch-predict").disabled


def test_without_any_model_it_says_how_to_get_one(page: AppTest, cloud: FakeBatchServer) -> None:
    cloud.models = []
    ready(cloud)
    assert "ninefold models build" in words(page.run()) and page.button(key="batch-predict").disabled


@pytest.mark.parametrize("restartable", [True, False])
def test_a_failure_is_told_and_may_be_started_again(page: AppTest, cloud: FakeBatchServer, restartable: bool) -> None:
    batch = cloud.shelf.add("a.zip")
    batch.failed("job_failed", "Out of memory.", restartable=restartable)
    assert "Out of memory." in words(page.run())
    assert [button.key for button in page.button if button.key == "restart"] == ["restart"] * restartable
    if restartable:
        page.button(key="restart").click().run()
        assert batch.state == "preprocessing" and "Out of memory." not in words(page)


def test_a_prediction_that_failed_is_told_and_may_be_asked_for_again(page: AppTest, cloud: FakeBatchServer) -> None:
    batch = ready(cloud)
    batch.predicting("small", "fp32")
    batch.predictions[0] |= {"state": "failed", "error": {"code": "shard_lost", "message": "A shard is gone."}}
    batch.ready()
    shown = words(page.run())
    assert "The prediction by small fp32 has failed" in shown and "A shard is gone." in shown
    assert not page.button(key="batch-predict").disabled


def test_a_batch_is_chosen_and_kept_in_the_address(page: AppTest, cloud: FakeBatchServer) -> None:
    first, _ = ready(cloud, "first.zip"), ready(cloud, "second.zip")
    assert "second.zip</bdi></h2>" in words(page.run())
    page.button(key=f"show-{first.id}").click().run()
    assert "first.zip</bdi></h2>" in words(page)
    assert page.query_params["batch"] == first.id


def test_the_address_may_name_a_batch_that_is_gone(page: AppTest, cloud: FakeBatchServer) -> None:
    ready(cloud)
    page.query_params["batch"] = "gone"
    assert "There is no batch of this name any more." in words(page.run())


def test_deletion_shows_the_next_batch(page: AppTest, cloud: FakeBatchServer) -> None:
    ready(cloud, "first.zip")
    second = ready(cloud, "second.zip")
    page.run().button(key="delete-sure").click().run()
    assert cloud.shelf.deleted == [second.id]
    assert "first.zip</bdi></h2>" in words(page)


def test_an_unfinished_upload_says_how_it_goes_on(page: AppTest, cloud: FakeBatchServer) -> None:
    cloud.shelf.add("a.zip")
    assert "goes on with it when the same file is chosen" in words(page.run())


def test_many_batches_are_not_all_drawn_at_once(page: AppTest, cloud: FakeBatchServer) -> None:
    for number in range(40):
        cloud.shelf.add(f"{number}.zip")
    assert words(page.run()).count("nf-pick-name") == 30
    page.toggle(key="all-batches").set_value(True).run()
    assert words(page).count("nf-pick-name") == 40


def test_results_that_cannot_be_read_are_told_and_read_again(page: AppTest, cloud: FakeBatchServer) -> None:
    batch = ready(cloud)
    batch.done()
    gone = Refusal(503, "storage_away", "S3 does not answer.")
    cloud.prepared[f"GET /v1/batches/{batch.id}/results"] = [gone]
    assert "S3 does not answer." in words(page.run())
    page.button(key="results-again").click().run()
    assert "1–40 of 100 files" in words(page)


def test_the_results_are_read_once_for_all_visits(page: AppTest, cloud: FakeBatchServer) -> None:
    batch = ready(cloud)
    batch.done()
    page.run().run()
    assert cloud.asked.count(f"GET /v1/batches/{batch.id}/results") == 1


@pytest.mark.parametrize(
    ("said", "heard"),
    [
        ({"event": "completed", "id": "X"}, Told("completed", "X")),
        (None, None),
        ("completed", None),
        ({"event": "completed"}, None),
        ({"event": "completed", "id": 7}, None),
    ],
)
def test_only_what_the_upload_may_say_is_heard(
    monkeypatch: pytest.MonkeyPatch, said: object, heard: Told | None
) -> None:
    monkeypatch.setattr("frontend.uploader.st.session_state", {"uploader": {"told": said}})
    assert told() == heard


def test_limits_have_defaults_for_a_server_that_is_away() -> None:
    assert Limits() == Limits(500_000_000, 100_000)
