"""One run for a zip: however often its event comes, however late, and whatever failed on the way."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError, EndpointConnectionError, ReadTimeoutError
from start_preprocessing import ClaimHeld

from contract.batches import Claim, Run
from tests import pictures, zips
from tests.lambda_function.deliveries import LIMIT, CountingGlue, Deliveries

KEY = "uploads/one/photos.zip"
GLUE = "https://glue.eu-central-1.amazonaws.com/"


def refusal(code: str, status: int) -> ClientError:
    about: Any = {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(about, "StartJobRun")


@pytest.fixture
def event(deliveries: Deliveries) -> dict[str, Any]:
    deliveries.upload(KEY)
    return deliveries.event(KEY)


def claim_by(deliveries: Deliveries, event: dict[str, Any], claim: Claim) -> str:
    """Another's claim, as if it had been put now; its key."""
    key = deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).claim
    deliveries.s3.put_object(Bucket=deliveries.bucket, Key=key, Body=claim.encode())
    return key


def test_a_zip_is_claimed_and_its_run_started_and_noted(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue()
    assert deliveries.deliver(event, glue) == ["started"]
    etag = event["Records"][0]["s3"]["object"]["eTag"]
    arguments = {"--batch": "one", "--key": KEY, "--etag": etag, "--tensor-dtype": "uint8"}
    assert glue.started == [("the-job", arguments)]
    keys = deliveries.keys("one", etag)
    assert deliveries.names() == [keys.claim, keys.run]
    noted = deliveries.s3.get_object(Bucket=deliveries.bucket, Key=keys.run)["Body"].read()
    assert Run.decode(noted) == Run("the-job", "jr_1", (2,))


def test_five_deliveries_one_after_another_start_one_run(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue()
    outcomes = [deliveries.deliver(event, glue, later=later)[0] for later in (0, 0, 1, 3600, 86400)]
    assert outcomes == ["started", *["duplicate"] * 4]
    assert len(glue.started) == 1


@pytest.mark.parametrize("times", [2, 5])
def test_deliveries_at_once_start_one_run(deliveries: Deliveries, event: dict[str, Any], times: int) -> None:
    glue = CountingGlue()
    outcomes = deliveries.at_once(event, glue, times)
    assert outcomes.count("started") == len(glue.started) == 1
    assert set(outcomes) <= {"started", "duplicate", "ClaimHeld"}
    assert deliveries.deliver(event, glue) == ["duplicate"]


def test_a_duplicate_does_not_even_read_the_directory(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue()
    deliveries.deliver(event, glue)
    # Were it looked into, it would now be refused.
    assert deliveries.deliver(event, glue, NINEFOLD_MAX_ZIP_MB="0.000001") == ["duplicate"]


def test_while_another_starts_the_run_the_retry_must_come_back(deliveries: Deliveries, event: dict[str, Any]) -> None:
    begun, go_on = threading.Event(), threading.Event()
    slow = CountingGlue(before=lambda: (begun.set(), go_on.wait(20)))
    outcomes: list[str] = []
    first = threading.Thread(target=lambda: outcomes.extend(deliveries.deliver(event, slow)))
    first.start()
    assert begun.wait(20)
    other = CountingGlue()
    try:
        with pytest.raises(ClaimHeld, match=r"claimed \d+ s ago, and no run is known yet"):
            deliveries.deliver(event, other)
    finally:
        go_on.set()
        first.join(20)
    assert outcomes == ["started"] and other.started == []
    assert deliveries.deliver(event, other) == ["duplicate"]


@pytest.mark.parametrize("later", [0, 45])
def test_a_fresh_claim_of_another_is_left_alone(deliveries: Deliveries, event: dict[str, Any], later: float) -> None:
    key, glue = claim_by(deliveries, event, Claim("another")), CountingGlue()
    with pytest.raises(ClaimHeld):
        deliveries.deliver(event, glue, later=later)
    with pytest.raises(ClaimHeld):  # even before the zip is looked into, which would be refused
        deliveries.deliver(event, glue, later=later, NINEFOLD_MAX_ZIP_MB="0.000001")
    assert glue.started == [] and deliveries.json(key) == {"owner": "another", "released": False, "why": ""}


def test_a_claim_that_came_to_nothing_is_taken_over(deliveries: Deliveries, event: dict[str, Any]) -> None:
    key, glue = claim_by(deliveries, event, Claim("another")), CountingGlue()
    assert deliveries.deliver(event, glue, later=65) == ["started"]
    taken = deliveries.json(key)
    assert len(glue.started) == 1 and taken and taken["owner"] != "another"


def test_a_claim_that_cannot_be_read_is_taken_over_by_its_age(deliveries: Deliveries, event: dict[str, Any]) -> None:
    key, glue = claim_by(deliveries, event, Claim("another")), CountingGlue()
    deliveries.s3.put_object(Bucket=deliveries.bucket, Key=key, Body=b"\xff")
    with pytest.raises(ClaimHeld):
        deliveries.deliver(event, glue)
    assert deliveries.deliver(event, glue, later=65) == ["started"]


@pytest.mark.parametrize("released", [False, True])
def test_one_of_many_takes_a_claim_over(deliveries: Deliveries, event: dict[str, Any], released: bool) -> None:
    claim_by(deliveries, event, Claim("another", released=released))
    glue = CountingGlue()
    outcomes = deliveries.at_once(event, glue, 5, later=0 if released else 65)
    assert outcomes.count("started") == len(glue.started) == 1, outcomes


def test_a_run_that_another_restart_began_is_not_doubled(deliveries: Deliveries, event: dict[str, Any]) -> None:
    claim_by(deliveries, event, Claim("the server"))
    run = deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).run
    deliveries.s3.put_object(Bucket=deliveries.bucket, Key=run, Body=Run("the-job", "jr_server", (2,)).encode())
    glue = CountingGlue()
    assert deliveries.deliver(event, glue, later=3600) == ["duplicate"]
    assert glue.started == []


@pytest.mark.parametrize("look", [1, 2])
def test_a_slow_owner_that_notes_its_run_at_the_last_moment_has_started_it(
    deliveries: Deliveries, event: dict[str, Any], look: int
) -> None:
    claim_by(deliveries, event, Claim("slow"))
    run, glue = deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).run, CountingGlue()
    looks: list[int] = []

    def note() -> None:
        looks.append(1)
        if len(looks) == look:
            body = Run("the-job", "jr_slow", (2,)).encode()
            deliveries.s3.put_object(Bucket=deliveries.bucket, Key=run, Body=body)

    assert deliveries.deliver(event, glue, later=65, meanwhile=note) == ["duplicate"]
    assert glue.started == [] and len(looks) == look


def test_a_start_that_fails_releases_the_claim_and_is_raised(
    deliveries: Deliveries, event: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    glue = CountingGlue(LIMIT)
    with pytest.raises(type(LIMIT), match="too many runs"):
        deliveries.deliver(event, glue)
    claim = deliveries.json(deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).claim)
    # Every visitor reads the claim's word; AWS's own text names accounts and roles.
    assert claim and claim["released"] and claim["why"] == "ConcurrentRunsExceededException"
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert said["event"] == "failed" and "arn:aws:glue" in said["error"] and said["key"].startswith("uploads/one/")
    assert glue.started == []
    assert deliveries.deliver(event, glue) == ["started"]  # at once, not after a minute
    assert deliveries.deliver(event, glue) == ["duplicate"]


def test_a_start_that_fails_twice_at_once_starts_one_run_in_the_end(
    deliveries: Deliveries, event: dict[str, Any]
) -> None:
    glue = CountingGlue(LIMIT, LIMIT)
    for _ in range(2):
        with pytest.raises(type(LIMIT)):
            deliveries.deliver(event, glue)
    assert deliveries.deliver(event, glue) == ["started"] and len(glue.started) == 1


def test_a_claim_taken_from_us_is_not_released(deliveries: Deliveries, event: dict[str, Any]) -> None:
    """Whoever hung past its time must not undo what its successor did."""
    key = deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).claim
    successor = Claim("successor").encode()
    glue = CountingGlue(
        LIMIT, before=lambda: deliveries.s3.put_object(Bucket=deliveries.bucket, Key=key, Body=successor)
    )
    with pytest.raises(type(LIMIT)):
        deliveries.deliver(event, glue)
    assert deliveries.json(key) == {"owner": "successor", "released": False, "why": ""}


def test_the_same_bytes_under_another_batch_are_another_run(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue()
    deliveries.upload("uploads/two/photos.zip")
    deliveries.deliver(event, glue)
    assert deliveries.deliver(deliveries.event("uploads/two/photos.zip"), glue) == ["started"]


def test_other_bytes_under_the_same_key_are_another_run(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue()
    deliveries.deliver(event, glue)
    deliveries.upload(KEY, zips.of({"c.jpg": pictures.jpeg((50, 50))}))
    assert deliveries.deliver(deliveries.event(KEY), glue) == ["started"]
    assert deliveries.deliver(event, glue) == ["passed_over"]  # the first one's event once more, too late
    assert len(glue.started) == 2


# -- a start whose answer was lost -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lost",
    [
        ReadTimeoutError(endpoint_url=GLUE),
        ConnectionClosedError(endpoint_url=GLUE),
        refusal("InternalServiceException", 500),
    ],
)
def test_a_start_that_was_not_answered_keeps_its_claim_and_its_run_is_found(
    deliveries: Deliveries, event: dict[str, Any], lost: Exception
) -> None:
    glue, keys = CountingGlue(lost=lost), deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"])
    with pytest.raises(type(lost)):
        deliveries.deliver(event, glue)
    with pytest.raises(ClaimHeld):  # the run may not be listed yet
        deliveries.deliver(event, glue)
    assert deliveries.names() == [keys.claim]
    assert deliveries.deliver(event, glue, later=65) == ["adopted"]
    noted = deliveries.json(keys.run)
    assert len(glue.started) == 1 and noted == {"job_name": "the-job", "job_run_id": "jr_1", "shards": [2]}
    assert deliveries.deliver(event, glue) == ["duplicate"]


def test_a_start_that_was_never_sent_is_tried_again_at_once(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue(EndpointConnectionError(endpoint_url=GLUE))
    with pytest.raises(EndpointConnectionError):
        deliveries.deliver(event, glue)
    claim = deliveries.json(deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).claim)
    assert claim and claim["released"] and claim["why"] == "EndpointConnectionError"
    assert deliveries.deliver(event, glue) == ["started"]


@pytest.mark.parametrize(
    "about",
    [
        {"JobRunState": "FAILED"},
        {"JobRunState": "STOPPING"},
        {"Arguments": {"--etag": "another", "--key": KEY}},
        {"Arguments": {}},
    ],
)
def test_a_run_that_will_not_bring_this_zips_pixels_is_not_adopted(
    deliveries: Deliveries, event: dict[str, Any], about: dict[str, Any]
) -> None:
    glue = CountingGlue(lost=ReadTimeoutError(endpoint_url=GLUE))
    with pytest.raises(ReadTimeoutError):
        deliveries.deliver(event, glue)
    glue.runs[0].update(about)
    assert deliveries.deliver(event, glue, later=65) == ["started"] and len(glue.started) == 2


def test_a_run_that_has_succeeded_meanwhile_is_adopted(deliveries: Deliveries, event: dict[str, Any]) -> None:
    glue = CountingGlue(lost=ReadTimeoutError(endpoint_url=GLUE))
    with pytest.raises(ReadTimeoutError):
        deliveries.deliver(event, glue)
    glue.runs[0]["JobRunState"] = "SUCCEEDED"
    assert deliveries.deliver(event, glue, later=65) == ["adopted"] and len(glue.started) == 1


def test_a_function_that_may_not_list_runs_starts_one(deliveries: Deliveries, event: dict[str, Any]) -> None:
    claim_by(deliveries, event, Claim("another"))
    glue = CountingGlue(refuses_to_list=refusal("AccessDeniedException", 400))
    assert deliveries.deliver(event, glue, later=65) == ["started"]


def test_a_listing_that_fails_starts_nothing_and_is_raised(deliveries: Deliveries, event: dict[str, Any]) -> None:
    key = claim_by(deliveries, event, Claim("another"))
    with pytest.raises(ClientError, match="ThrottlingException"):
        deliveries.deliver(event, CountingGlue(refuses_to_list=refusal("ThrottlingException", 400)), later=65)
    claim = deliveries.json(key)
    assert claim and claim["released"]


# -- the same bytes once more ------------------------------------------------------------------------------------


@pytest.fixture
def done(deliveries: Deliveries, event: dict[str, Any]) -> CountingGlue:
    """A Glue whose run for the upload has succeeded; the upload is put once more, in another second of S3's clock."""
    glue = CountingGlue()
    deliveries.deliver(event, glue)
    glue.runs[0]["JobRunState"] = "SUCCEEDED"
    time.sleep(1.1)
    deliveries.upload(KEY)
    return glue


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED"])
def test_the_same_bytes_put_again_start_a_run_where_there_are_no_pixels(
    deliveries: Deliveries, event: dict[str, Any], done: CountingGlue, state: str
) -> None:
    done.runs[0]["JobRunState"] = state
    assert deliveries.deliver(event, done, later=65) == ["started"] and len(done.started) == 2
    assert [deliveries.deliver(event, done, later=later) for later in (0, 65)] == [["duplicate"]] * 2


def test_the_same_bytes_put_again_start_nothing_where_there_are_pixels(
    deliveries: Deliveries, event: dict[str, Any], done: CountingGlue
) -> None:
    manifest = deliveries.keys("one", event["Records"][0]["s3"]["object"]["eTag"]).tensors("any").manifest
    deliveries.s3.put_object(Bucket=deliveries.bucket, Key=manifest, Body=b"{}")
    assert deliveries.deliver(event, done, later=65) == ["duplicate"] and len(done.started) == 1


def test_the_same_bytes_put_again_while_their_run_is_at_it_start_nothing(
    deliveries: Deliveries, event: dict[str, Any], done: CountingGlue
) -> None:
    done.runs[0]["JobRunState"] = "RUNNING"
    assert deliveries.deliver(event, done, later=65) == ["adopted"] and len(done.started) == 1
