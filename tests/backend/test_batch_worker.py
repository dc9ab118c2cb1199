"""The prediction of a batch when things go wrong: killed servers, cut links, two servers, damaged shards."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.batches.errors import StorageRefuses
from backend.batches.job_runs import JobRuns, RunStatus
from backend.batches.storage import Storage
from contract.batches import Claim, Lease, SourceKeys
from inference.classifier import WrongAnswer
from tests import batches, pictures, zips
from tests.batches import Link
from tests.localcloud.clouds import BUCKET, JOB, Cloud
from tests.servers import Service, process, serve

IMAGES = 160
SHARDS = 10
SHORT_LEASES = (
    "import sys; sys.path.insert(0, ''); import contract.batches as c; c.LEASE_SECONDS = 10; c.RENEW_SECONDS = 1; "
    "import backend.batches.worker as w; w._LOOK_SECONDS = 0.5"
)


@pytest.fixture(scope="module")
def s3() -> Iterator[Cloud]:
    with batches.storage() as started:
        yield started


@pytest.fixture(scope="module")
def many() -> bytes:
    """A zip of small distinct pictures, with something odd here and there."""
    members: dict[str, bytes] = {}
    for number in range(IMAGES):
        members[f"{number:04d}.jpg"] = b"broken" if number % 32 == 5 else pictures.jpeg((64, 48), number)
    return zips.of({"folder/": b"", **members})


def environment(started: Cloud, endpoint: str | None = None) -> dict[str, str]:
    return {
        **started.env,
        "NINEFOLD_BUCKET": BUCKET,
        "NINEFOLD_S3_ENDPOINT": endpoint or started.url,
        "NINEFOLD_GLUE_JOB": JOB,
        "NINEFOLD_THREADS": "2",
        "NINEFOLD_MODEL": "resnet18-seeded",
    }


def ready(started: Cloud, batch: str, data: bytes) -> SourceKeys:
    """A preprocessed batch, and its keys."""
    batches.drop_in(started, batch, data)
    batches.preprocess(started, batch, images_a_shard=16)
    return batches.job_of(started, batch).source_keys


def parts(started: Cloud, keys: SourceKeys) -> dict[str, Any]:
    """The finished parts, with their times."""
    found = batches.keys_under(started, keys.results("resnet18-seeded", "fp32").prefix)
    return {key: kept for key, kept in found.items() if key.endswith(".jsonl")}


def check_complete(service: Service, batch: str) -> None:
    """Every entry exactly once, and nothing else."""
    rows = batches.rows(service, batch)
    assert [row["entry"] for row in rows] == list(range(IMAGES + 1))
    statuses = [row["status"] for row in rows]
    assert (statuses.count("ok"), statuses.count("error"), statuses.count("skipped")) == (IMAGES - 5, 5, 1)


def begin(service: Service, started: Cloud, batch: str, keys: SourceKeys) -> None:
    """Asks for the prediction, and returns in the midst of it."""
    assert batches.predict(service, batch).status_code == 202
    batches.within(60, lambda: bool(parts(started, keys)), lambda: batches.state(service, batch))
    assert batches.state(service, batch)["state"] == "predicting"


def test_a_killed_server_goes_on_where_it_stood(models_dir: Path, s3: Cloud, many: bytes) -> None:
    keys = ready(s3, "killed", many)
    with process(models_dir, first=SHORT_LEASES, **environment(s3)) as server:
        server.wait_ready()
        begin(server, s3, "killed", keys)
        assert server.process is not None
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait(10)
        before = parts(s3, keys)
        assert 0 < len(before) < SHARDS
    with process(models_dir, first=SHORT_LEASES, **environment(s3)) as server:
        server.wait_ready()
        batches.wait_for(server, "killed", "done")
        after = parts(s3, keys)
        assert len(after) == SHARDS and {key: after[key] for key in before} == before
        check_complete(server, "killed")


def test_a_stopped_server_lets_go_and_another_goes_on_at_once(models_dir: Path, s3: Cloud, many: bytes) -> None:
    keys = ready(s3, "stopped", many)
    with process(models_dir, **environment(s3)) as server:
        server.wait_ready()
        begin(server, s3, "stopped", keys)
        said = server.stop()
        assert "stopped" in said and "Traceback" not in said
        assert len(parts(s3, keys)) < SHARDS
    # With the leases' true times: after a kill it would have to wait for a minute.
    with process(models_dir, **environment(s3)) as server:
        server.wait_ready()
        batches.wait_for(server, "stopped", "done", seconds=40)
        check_complete(server, "stopped")


def test_of_two_servers_on_one_batch_the_other_finishes_what_the_killed_one_left(
    models_dir: Path, s3: Cloud, many: bytes
) -> None:
    keys = ready(s3, "shared", many)
    with (
        process(models_dir, first=SHORT_LEASES, **environment(s3)) as one,
        process(models_dir, first=SHORT_LEASES, **environment(s3)) as other,
    ):
        one.wait_ready()
        other.wait_ready()
        begin(one, s3, "shared", keys)
        assert batches.predict(other, "shared").status_code == 202  # asked of both: still predicted once
        owner = s3.text(keys.results("resnet18-seeded", "fp32").lease)
        assert one.process is not None and other.process is not None
        working, idle = (one, other) if one.metric('ninefold_batch_entries_total{outcome="ok"}') else (other, one)
        assert idle.metric('ninefold_batch_entries_total{outcome="ok"}') == 0
        assert working.process is not None
        os.kill(working.process.pid, signal.SIGKILL)
        working.process.wait(10)
        before = parts(s3, keys)
        batches.wait_for(idle, "shared", "done")
        after = parts(s3, keys)
        assert len(after) == SHARDS and {key: after[key] for key in before} == before
        assert s3.text(keys.results("resnet18-seeded", "fp32").lease) != owner
        check_complete(idle, "shared")


def test_ten_seconds_without_s3_lose_nothing_and_double_nothing(models_dir: Path, s3: Cloud, many: bytes) -> None:
    keys = ready(s3, "cut", many)
    link = Link(s3.url)
    try:
        with process(models_dir, **environment(s3, link.url)) as server:
            server.wait_ready()
            begin(server, s3, "cut", keys)
            link.cut()
            before = parts(s3, keys)
            pause = server.client.get("/v1/batches/cut")  # takes as long as the client tries
            assert pause.status_code == 503 and pause.json()["error"]["code"] == "storage_away"
            link.mend_after(10)
            batches.wait_for(server, "cut", "done")
            after = parts(s3, keys)
            assert len(after) == SHARDS and {key: after[key] for key in before} == before
            check_complete(server, "cut")
            assert server.client.get("/healthz").status_code == 200
    finally:
        link.close()


@pytest.fixture
def service(models_dir: Path, s3: Cloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setattr("backend.batches.worker._LOOK_SECONDS", 0.3)
    settings = batches.use(monkeypatch, s3)
    with serve(models_dir, threads=2, model="resnet18-seeded", **settings) as started:
        yield started


def test_a_damaged_shard_fails_in_words_and_can_be_asked_for_again(service: Service, s3: Cloud) -> None:
    keys = ready(s3, "damaged", zips.of({f"{n}.jpg": pictures.jpeg((64, 48), n) for n in range(3)}))
    tensors = keys.tensors("bilinear-256-224")
    whole = s3.s3.get_object(Bucket=BUCKET, Key=tensors.pixels(0))["Body"].read()
    s3.s3.put_object(Bucket=BUCKET, Key=tensors.pixels(0), Body=whole[:-1])
    batches.predict(service, "damaged")
    batches.within(30, lambda: batches.state(service, "damaged")["state"] == "ready")
    failed = batches.state(service, "damaged")["predictions"][0]
    assert failed["state"] == "failed" and failed["error"]["code"] == "damaged_tensors" and failed["error"]["message"]
    s3.s3.put_object(Bucket=BUCKET, Key=tensors.pixels(0), Body=whole)
    assert batches.predict(service, "damaged").status_code == 202
    batches.wait_for(service, "damaged", "done")
    assert len(batches.rows(service, "damaged")) == 3


def test_pixels_that_are_gone_fail_in_words(service: Service, s3: Cloud) -> None:
    keys = ready(s3, "gone", zips.of({"a.jpg": pictures.jpeg()}))
    s3.s3.delete_object(Bucket=BUCKET, Key=keys.tensors("bilinear-256-224").pixels(0))
    batches.predict(service, "gone")
    batches.within(30, lambda: batches.state(service, "gone")["predictions"][0]["state"] == "failed")
    assert batches.state(service, "gone")["predictions"][0]["error"]["code"] == "no_pixels"


def test_deleting_in_mid_prediction_leaves_nothing_behind(service: Service, s3: Cloud, many: bytes) -> None:
    keys = ready(s3, "deleted", many)
    begin(service, s3, "deleted", keys)
    assert service.client.delete("/v1/batches/deleted").status_code == 204
    assert batches.everything_of(s3, "deleted") == []
    # The worker is free for others, and writes nothing more of this one.
    ready(s3, "next", zips.of({"a.jpg": pictures.jpeg()}))
    batches.predict(service, "next")
    batches.wait_for(service, "next", "done")
    assert batches.everything_of(s3, "deleted") == []


def test_an_urgent_picture_does_not_wait_for_a_batch(service: Service, s3: Cloud, many: bytes) -> None:
    keys = ready(s3, "background", many)
    begin(service, s3, "background", keys)
    assert service.app is not None
    for number in range(5):
        assert service.predict(("a.jpg", pictures.jpeg((64, 48), number)))[0]["status"] == "ok"
    assert batches.state(service, "background")["state"] == "predicting"
    batches.within(10, lambda: service.metric('ninefold_waiting_images{priority="bulk"}') > 0)  # 0 between two shards
    batches.wait_for(service, "background", "done")


def test_a_queue_for_few_images_is_no_obstacle(
    models_dir: Path, s3: Cloud, many: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(s3, "narrow", zips.of({f"{n}.jpg": pictures.jpeg((64, 48), n) for n in range(30)}))
    settings = batches.use(monkeypatch, s3)
    with serve(models_dir, threads=2, queue_images=9, **settings) as narrow:
        assert batches.predict(narrow, "narrow").status_code == 202
        batches.wait_for(narrow, "narrow", "done")


def test_a_run_that_nobody_started_is_started_by_the_server(
    service: Service, s3: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches.drop_in(s3, "nobodys", zips.of({"a.jpg": pictures.jpeg()}))
    keys = batches.job_of(s3, "nobodys").source_keys
    s3.s3.put_object(
        Bucket=BUCKET, Key=keys.claim, Body=Claim("lambda", True, "ConcurrentRunsExceededException").encode()
    )
    batches.within(30, lambda: s3.text(keys.run) is not None, lambda: batches.state(service, "nobodys"))
    assert len([run for run in s3.runs() if run["Arguments"]["--key"] == "uploads/nobodys/photos.zip"]) == 1


def test_a_run_that_waited_in_vain_is_started_again_by_the_server(
    service: Service, s3: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    status = JobRuns.status

    def expired(self: JobRuns, job_name: str, run_id: str) -> RunStatus:
        return RunStatus(run_id, "EXPIRED") if run_id == "jr_waited" else status(self, job_name, run_id)

    monkeypatch.setattr(JobRuns, "status", expired)
    batches.drop_in(s3, "waited", zips.of({"a.jpg": pictures.jpeg()}))
    batches.note_run(s3, "waited", "jr_waited", (1,))
    keys = batches.job_of(s3, "waited").source_keys
    batches.within(30, lambda: "jr_waited" not in (s3.text(keys.run) or ""), lambda: batches.state(service, "waited"))
    assert len([run for run in s3.runs() if run["Arguments"]["--key"] == "uploads/waited/photos.zip"]) == 1


def test_what_s3_refuses_for_good_fails_in_words_and_holds_up_nobody(
    service: Service, s3: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ready(s3, "refused", zips.of({"a.jpg": pictures.jpeg()}))
    locked, get = keys.tensors("bilinear-256-224").pixels(0), Storage.get

    def refusing(self: Storage, key: str) -> Any:
        if key == locked:
            raise StorageRefuses("AccessDenied")
        return get(self, key)

    monkeypatch.setattr(Storage, "get", refusing)
    batches.predict(service, "refused")
    batches.within(30, lambda: batches.state(service, "refused")["predictions"][0]["state"] == "failed")
    error = batches.state(service, "refused")["predictions"][0]["error"]
    assert error["code"] == "storage_refuses" and "AccessDenied" in error["message"]


def test_a_server_that_fails_its_golden_image_predicts_no_batch(
    models_dir: Path, s3: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = ready(s3, "unfit", zips.of({"a.jpg": pictures.jpeg()}))
    monkeypatch.setattr("backend.batches.worker._LOOK_SECONDS", 0.2)
    monkeypatch.setattr("backend.predictor.check_golden", _says_no)
    with serve(models_dir, ready=False, threads=2, **batches.use(monkeypatch, s3)) as unfit:
        assert batches.predict(unfit, "unfit").status_code == 503
        lease = keys.results("efficientnet_lite0", "fp32").lease
        s3.s3.put_object(Bucket=BUCKET, Key=lease, Body=Lease("", released=True).encode())
        time.sleep(2)
        assert s3.text(lease) == Lease("", released=True).encode().decode()


def test_deleting_by_one_server_what_another_predicts_leaves_nothing_behind(
    models_dir: Path, s3: Cloud, many: bytes
) -> None:
    keys = ready(s3, "theirs", many)
    with process(models_dir, **environment(s3)) as working, process(models_dir, **environment(s3)) as deleting:
        working.wait_ready()
        deleting.wait_ready()
        begin(working, s3, "theirs", keys)
        assert deleting.client.delete("/v1/batches/theirs").status_code == 204
        time.sleep(12)  # longer than a lease goes without renewal
        assert batches.everything_of(s3, "theirs") == []


def test_a_write_that_is_under_way_does_not_outlive_the_deletion(
    service: Service, s3: Cloud, many: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys, put = ready(s3, "slow-write", many), Storage.put

    def slow(self: Storage, key: str, data: bytes, **condition: Any) -> str:
        if key.endswith(".jsonl"):
            time.sleep(1.5)
        return put(self, key, data, **condition)

    begin(service, s3, "slow-write", keys)
    monkeypatch.setattr(Storage, "put", slow)
    time.sleep(1)
    assert service.client.delete("/v1/batches/slow-write").status_code == 204
    time.sleep(3)
    assert batches.everything_of(s3, "slow-write") == []


def _says_no(*_: object) -> None:
    raise WrongAnswer("the golden image was misjudged")
