"""A storage that hangs holds the threads of batches, and of nobody else."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.api.batch_threads import MOST
from backend.batches.errors import StorageAway
from backend.batches.service import Batches
from backend.batches.storage import Fetched, Storage
from backend.batches.views import Views
from contract.batches import NOTICE_KEY
from tests.servers import Service, serve

ASKED = 60
"""More than anyio has threads for all routes together, which is 40."""


class Hanging:
    """S3 that does not answer until it is let go, and what waits for it."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.waiting = 0
        self.most = 0
        self._lock = threading.Lock()

    def __call__(self, *_: Any, **__: Any) -> Any:
        with self._lock:
            self.waiting += 1
            self.most = max(self.most, self.waiting)
        assert self.let_go.wait(60)
        with self._lock:
            self.waiting -= 1
        raise StorageAway("it hung")


@pytest.fixture
def hanging(monkeypatch: pytest.MonkeyPatch) -> Hanging:
    found = Hanging()
    monkeypatch.setattr(Storage, "folders", lambda *_: [])
    return found


@pytest.fixture
def service(models_dir: Path, hanging: Hanging, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    nowhere = "http://127.0.0.1:9"
    with serve(models_dir, threads=1, model="resnet18-seeded", bucket="x", s3_endpoint=nowhere) as started:
        try:
            yield started
        finally:
            hanging.let_go.set()


def models_are_answered_while(service: Service, path: str, hanging: Hanging) -> list[int]:
    """Asks for that so often, and in between for the models; the statuses of the former."""
    with ThreadPoolExecutor(ASKED) as visitors:
        asked = [visitors.submit(httpx.get, f"{service.url}{path}", timeout=60) for _ in range(ASKED)]
        try:
            deadline = time.monotonic() + 20
            while not hanging.waiting:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(0.5)
            for _ in range(3):
                assert httpx.get(f"{service.url}/v1/models", timeout=5).status_code == 200
        finally:
            hanging.let_go.set()
        return [each.result().status_code for each in asked]


def test_lists_that_wait_leave_others_their_threads_and_wait_once(
    service: Service, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "get", hanging)
    assert models_are_answered_while(service, "/v1/batches", hanging) == [503] * ASKED
    assert hanging.most == 1  # for the notice, one after the other


def test_batches_that_wait_leave_others_their_threads(
    service: Service, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Storage, "objects", hanging)
    assert models_are_answered_while(service, "/v1/batches/x", hanging) == [503] * ASKED
    assert hanging.most == MOST


def test_results_that_are_waited_for_leave_others_their_threads(
    service: Service, hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rows(*_: Any) -> Iterator[bytes]:
        yield b"one\n"
        try:
            hanging()
        except StorageAway:
            yield b"two\n"

    monkeypatch.setattr(Batches, "results", rows)
    assert models_are_answered_while(service, "/v1/batches/x/results?format=jsonl", hanging) == [200] * ASKED
    assert hanging.most == MOST
    assert httpx.get(f"{service.url}/v1/batches/x/results?format=jsonl").content == b"one\ntwo\n"


def test_the_notice_is_read_again_after_some_seconds() -> None:
    class Bucket:
        said, read = b'{"message": "one"}', 0

        def folders(self, _: str) -> list[str]:
            return []

        def get(self, key: str) -> Fetched:
            assert key == NOTICE_KEY
            self.read += 1
            return Fetched(self.said, "x", 0)

    bucket, now = Bucket(), [100.0]
    views = Views(bucket, None, lambda: now[0])  # type: ignore[arg-type]
    for _ in range(3):
        views.all()
    assert (views.notice.message, bucket.read) == ("one", 1)
    bucket.said = b'{"message": "two"}'
    now[0] += 5
    views.all()
    assert (views.notice.message, bucket.read) == ("two", 2)
    bucket.said = b"no JSON"
    now[0] += 5
    views.all()
    assert views.notice.message == ""
