"""What a batch is said to be, by what lies in S3 and what Glue says; and how a run is started again."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from backend.batches import reading, worker
from backend.batches.errors import BatchProblem, JobsAway
from backend.batches.job_runs import RunStatus
from backend.batches.lease import HeldLease, LeaseLost, ask_for, take
from backend.batches.preprocessing import start_preprocessing
from backend.batches.storage import Storage
from backend.batches.views import Views
from contract.batches import Claim, Lease, Run, dump
from contract.transform import TransformSpec
from tests import batches, pictures, zips
from tests.localcloud.clouds import BUCKET, JOB, Cloud

ZIP = zips.of({f"{number}.jpg": pictures.jpeg((40, 30), number) for number in range(3)})


class FakeJobRuns:
    """Glue with the seam's signature: it says what it is told to say."""

    def __init__(self) -> None:
        self.job_name = JOB
        self.said = RunStatus("jr_1", "RUNNING")
        self.started: list[Mapping[str, str]] = []
        self.stopped: list[str] = []
        self.away = False

    def start(self, arguments: Mapping[str, str]) -> str:
        if self.away:
            raise JobsAway("ConcurrentRunsExceededException")
        self.started.append(arguments)
        return f"jr_{len(self.started) + 1}"

    def status(self, job_name: str, run_id: str) -> RunStatus:
        if self.away:
            raise JobsAway("EndpointConnectionError")
        return RunStatus(run_id, self.said.state, self.said.message, self.said.seconds)

    def stop(self, job_name: str, run_id: str) -> None:
        self.stopped.append(run_id)


@pytest.fixture(scope="module")
def s3() -> Iterator[Cloud]:
    with batches.storage() as started:
        yield started


@pytest.fixture
def storage(s3: Cloud, monkeypatch: pytest.MonkeyPatch) -> Storage:
    batches.use(monkeypatch, s3)
    return Storage(BUCKET, s3.url)


@pytest.fixture
def glue() -> FakeJobRuns:
    return FakeJobRuns()


@pytest.fixture
def views(storage: Storage, glue: FakeJobRuns) -> Views:
    return Views(storage, glue)  # type: ignore[arg-type]


@pytest.fixture
def batch(request: pytest.FixtureRequest, s3: Cloud) -> str:
    """A drop-in of the test's own."""
    name = str(request.node.name)[5:60].replace("[", "-").replace("]", "")
    batches.drop_in(s3, name, ZIP)
    return name


def old(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Lets that much time pass for what asks how old something is."""
    from datetime import UTC, datetime, timedelta

    from backend.batches import reading

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + timedelta(seconds=seconds)

    monkeypatch.setattr(reading, "datetime", Later)


def test_an_upload_that_nobody_took_up_can_be_started_after_a_minute(
    views: Views, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert views.one(batch).state == "uploaded" and not views.one(batch).restartable
    old(monkeypatch, 61)
    assert views.one(batch).state == "uploaded" and views.one(batch).restartable


def test_a_claim_without_a_run_is_preprocessing_and_after_a_minute_a_person_may_step_in(
    views: Views, storage: Storage, s3: Cloud, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = batches.job_of(s3, batch).source_keys.claim
    storage.put(claim, Claim("lambda").encode())
    assert views.one(batch).state == "preprocessing" and not views.one(batch).restartable
    with monkeypatch.context() as later:
        old(later, 61)
        assert views.one(batch).restartable
    storage.put(claim, Claim("lambda", released=True, why="ConcurrentRunsExceededException: too many").encode())
    view = views.one(batch)
    assert view.restartable and view.progress and "too many" in view.progress.detail


def test_a_run_shows_how_far_it_is(
    views: Views, s3: Cloud, batch: str, glue: FakeJobRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches.preprocess(s3, batch, images_a_shard=1)
    keys = batches.job_of(s3, batch)
    s3.s3.delete_object(Bucket=BUCKET, Key=keys.tensor_keys.manifest)
    s3.s3.delete_object(Bucket=BUCKET, Key=keys.tensor_keys.rows(2))
    batches.note_run(s3, batch, "jr_1", (1, 1, 1))
    view = views.one(batch)
    assert view.state == "preprocessing" and view.progress and not view.restartable
    assert (view.progress.done, view.progress.total, view.entries) == (2, 3, 3)
    for said, words in (("STARTING", "starting"), ("WAITING", "waits"), ("RUNNING", "")):
        glue.said = RunStatus("jr_1", said)
        progress = views.one(batch).progress
        assert progress and words in progress.detail


@pytest.mark.parametrize(
    ("state", "message", "shown"),
    [
        ("FAILED", "JobFailed: A part of the zip could not be preprocessed.", "A part of the zip"),
        ("FAILED", "", "without a reason"),
        ("TIMEOUT", "Timed out after 60 minutes", "Timed out"),
        ("STOPPED", "", "stopped"),
        ("ERROR", "The job was deleted", "was deleted"),
        ("UNKNOWN", "Glue does not know the run (any more).", "does not know"),
        ("SUCCEEDED", "", "without a result"),
    ],
)
def test_a_run_that_ended_without_a_manifest_is_failed_and_can_be_started_again(
    views: Views, s3: Cloud, batch: str, glue: FakeJobRuns, state: str, message: str, shown: str
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", state, message)
    view = views.one(batch)
    assert view.state == "failed" and view.restartable and view.problem and shown in view.problem.message


@pytest.mark.parametrize(
    ("said", "again"),
    [
        (RunStatus("jr_1", "EXPIRED"), True),
        (RunStatus("jr_1", "FAILED", "Exceeded maximum concurrent compute capacity"), True),
        (RunStatus("jr_1", "ERROR", "Resource unavailable"), True),
        (RunStatus("jr_1", "FAILED", "Resource unavailable", seconds=61), False),  # it had begun
        (RunStatus("jr_1", "FAILED", "The role cannot be assumed"), False),  # would be refused for ever
    ],
)
def test_a_run_for_which_aws_found_no_room_is_none(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns, said: RunStatus, again: bool
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = said
    view = views.one(batch)
    assert view.state == ("preprocessing" if again else "failed") and view.restartable
    if again:
        assert view.progress and "in vain" in view.progress.detail
        start_preprocessing(storage, glue, view, TransformSpec())  # type: ignore[arg-type]
        assert len(glue.started) == 1


def test_without_room_for_hours_a_run_has_failed(
    views: Views, s3: Cloud, batch: str, glue: FakeJobRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_HOURS_FOR_ROOM", 0)
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", "EXPIRED")
    view = views.one(batch)
    assert view.state == "failed" and view.restartable and not worker._never_began(view)


def test_not_knowing_how_the_run_is_is_no_failure(views: Views, s3: Cloud, batch: str, glue: FakeJobRuns) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.away = True
    assert views.one(batch).state == "preprocessing" and not views.one(batch).restartable


def test_a_refused_zip_says_why_and_cannot_be_started_again(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns
) -> None:
    error = batches.job_of(s3, batch).source_keys.error
    storage.put(error, dump({"code": "zip_bomb", "message": "It would unpack to 20 TB."}))
    view = views.one(batch)
    assert view.state == "failed" and not view.restartable
    assert view.problem and (view.problem.code, view.problem.message) == ("zip_bomb", "It would unpack to 20 TB.")
    with pytest.raises(BatchProblem, match="20 TB"):
        start_preprocessing(storage, glue, view, TransformSpec())  # type: ignore[arg-type]
    assert glue.started == []


def test_a_manifest_counts_more_than_a_failed_run(views: Views, s3: Cloud, batch: str, glue: FakeJobRuns) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", "FAILED", "too late")
    batches.preprocess(s3, batch)
    assert views.one(batch).state == "ready" and views.one(batch).problem is None


def test_new_bytes_under_the_same_name_begin_anew(views: Views, s3: Cloud, batch: str) -> None:
    batches.preprocess(s3, batch)
    assert views.one(batch).state == "ready"
    batches.drop_in(s3, batch, zips.of({"another.jpg": pictures.jpeg()}))
    assert views.one(batch).state == "uploaded"
    batches.drop_in(s3, batch, ZIP)
    assert views.one(batch).state == "ready"


def test_what_outlives_its_upload_is_expired_or_done(views: Views, storage: Storage, s3: Cloud, batch: str) -> None:
    batches.preprocess(s3, batch)
    keys = batches.job_of(s3, batch)
    storage.put(keys.source_keys.claim, Claim("lambda").encode())
    storage.delete([str(keys.upload), keys.tensor_keys.manifest])
    assert views.one(batch).state == "expired"
    results = keys.source_keys.results("some-model", "fp32")
    counts = {"images": 2, "errors": 1, "skipped": 0}
    storage.put(results.part(0), b"{}\n")
    storage.put(results.done, dump({"model": "some-model", "precision": "fp32", "counts": counts, "shards": 1}))
    view = views.one(batch)
    assert view.state == "done" and view.counts and view.counts.entries == 3
    assert (view.predictions[0].model, view.predictions[0].precision) == ("some-model", "fp32")


def test_damaged_records_are_borne(views: Views, storage: Storage, s3: Cloud, batch: str) -> None:
    keys = batches.job_of(s3, batch).source_keys
    for key in (keys.claim, keys.run):
        storage.put(key, b"{not json")
    assert views.one(batch).state == "preprocessing"
    storage.put(keys.error, b"[1]")
    problem = views.one(batch).problem
    assert problem and "cannot be read" in problem.message


def test_starting_again_claims_starts_and_notes_the_run(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", "FAILED", "killed")
    start_preprocessing(storage, glue, views.one(batch), TransformSpec())  # type: ignore[arg-type]
    job = batches.job_of(s3, batch)
    assert len(glue.started) == 1
    assert glue.started[0]["--key"] == str(job.upload) and glue.started[0]["--etag"] == job.etag
    assert Run.decode(storage.get(job.source_keys.run).data) == Run(JOB, "jr_2", (3,))
    glue.said = RunStatus("jr_2", "RUNNING")
    with pytest.raises(BatchProblem, match="A run is at it"):
        start_preprocessing(storage, glue, views.one(batch), TransformSpec())  # type: ignore[arg-type]


def test_of_two_clicks_at_once_one_starts_a_run(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    storage.put(batches.job_of(s3, batch).source_keys.claim, Claim("lambda").encode())
    glue.said = RunStatus("jr_1", "FAILED", "killed")
    both = views.one(batch), views.one(batch)  # two servers look, then both act
    start_preprocessing(storage, glue, both[0], TransformSpec())  # type: ignore[arg-type]
    with pytest.raises(BatchProblem, match="Someone else"):
        start_preprocessing(storage, glue, both[1], TransformSpec())  # type: ignore[arg-type]
    assert len(glue.started) == 1


def test_while_a_run_is_being_started_it_is_not_shown_as_failed(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", "FAILED", "killed")
    assert views.one(batch).state == "failed"
    time.sleep(1.1)  # S3's times are seconds
    storage.put(batches.job_of(s3, batch).source_keys.claim, Claim("another-server").encode())
    view = views.one(batch)
    assert view.state == "preprocessing" and not view.restartable
    with pytest.raises(BatchProblem, match="being started"):
        start_preprocessing(storage, glue, view, TransformSpec())  # type: ignore[arg-type]


def test_a_start_that_glue_refuses_lets_the_next_one_try(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", "FAILED", "killed")
    view = views.one(batch)
    glue.away = True
    with pytest.raises(JobsAway):
        start_preprocessing(storage, glue, view, TransformSpec())  # type: ignore[arg-type]
    glue.away = False
    start_preprocessing(storage, glue, views.one(batch), TransformSpec())  # type: ignore[arg-type]
    assert len(glue.started) == 1


def test_a_start_whose_answer_was_lost_is_not_repeated_at_once(
    views: Views, storage: Storage, s3: Cloud, batch: str, glue: FakeJobRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches.note_run(s3, batch, "jr_1", (3,))
    glue.said = RunStatus("jr_1", "FAILED", "killed")
    time.sleep(1.1)  # S3's times are seconds

    def lost(arguments: Mapping[str, str]) -> str:
        raise JobsAway("ReadTimeoutError.", sent=True)

    monkeypatch.setattr(glue, "start", lost)
    with pytest.raises(JobsAway):
        start_preprocessing(storage, glue, views.one(batch), TransformSpec())  # type: ignore[arg-type]
    view = views.one(batch)
    assert view.starting and not view.restartable
    old(monkeypatch, 61)
    assert views.one(batch).restartable


# -- leases --------------------------------------------------------------------------------------------------------


def test_a_lease_is_held_by_one_and_taken_over_when_it_is_old(
    storage: Storage, batch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"batches/{batch}/lease.json"
    ask_for(storage, key)
    ask_for(storage, key)  # asked twice: one wish
    first = take(storage, key, "first")
    assert first is not None and take(storage, key, "second") is None
    first.renew()
    monkeypatch.setattr("backend.batches.lease.LEASE_SECONDS", -1)
    second = take(storage, key, "second")
    assert second is not None
    with pytest.raises(LeaseLost):
        first.renew()
    second.release()
    monkeypatch.undo()
    assert take(storage, key, "third") is not None


def test_a_failed_lease_is_nobodys_until_it_is_asked_for_again(storage: Storage, batch: str) -> None:
    key = f"batches/{batch}/lease.json"
    ask_for(storage, key)
    held = take(storage, key, "first")
    assert held is not None
    held.release(("damaged_tensors", "What was preprocessed cannot be read."))
    assert take(storage, key, "second") is None
    ask_for(storage, key)
    assert take(storage, key, "second") is not None


def test_a_renewal_whose_answer_was_lost_is_still_ours(storage: Storage, batch: str) -> None:
    key = f"batches/{batch}/lease.json"
    ask_for(storage, key)
    held = take(storage, key, "me")
    assert held is not None
    stale = HeldLease(storage, key, "me", etag="0" * 32)
    stale.renew()
    assert stale.etag == held.etag
    assert Lease.decode(storage.get(key).data).owner == "me"


def test_a_lease_that_s3_did_not_hear_of_in_time_is_given_up(s3: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    batches.use(monkeypatch, s3)
    now = [0.0]
    held = HeldLease(Storage(BUCKET, "http://127.0.0.1:9"), "batches/x/lease.json", "me", "e", clock=lambda: now[0])
    now[0] = 20
    held.renew()  # borne
    now[0] = 46
    with pytest.raises(LeaseLost):
        held.renew()
