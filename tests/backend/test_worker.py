"""The batch worker's own loop, beside fakes of what it reads, writes and predicts: what goes wrong, and what then."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from backend.batches import worker as module
from backend.batches.errors import BatchProblem, StorageAway, StorageRefuses
from backend.batches.prediction import Answering
from backend.batches.storage import Fetched
from backend.batches.view import BatchView, Prediction
from backend.batches.worker import Worker
from contract.batches import BatchKeys, Lease, State
from contract.transform import TransformSpec

WISH = Lease("", released=True).encode()


class FakeViews:
    """What there is, what reading it raises, and how often each batch was looked at. `wished`: to be predicted."""

    def __init__(self, *names: str) -> None:
        self.known = set(names)
        self.wished: set[str] = set()
        self.errors: dict[str, list[Exception]] = {}
        """By batch, and by "" for the list of all: what the next looks raise."""
        self.looked: Counter[str] = Counter()

    def names(self) -> set[str]:
        self._fail("")
        return set(self.known)

    def one(self, batch: str) -> BatchView:
        self.looked[batch] += 1
        self._fail(batch)
        predicting = Prediction("a-fp32", "predicting", True, "a", "fp32", 0, 1, None, None, frozenset())
        return BatchView(
            id=batch, file_name="a.zip", size_bytes=1, state=State.DONE, created=datetime.now(UTC), upload=None,
            request=None, etag="e", source=BatchKeys(batch).source("e"), claim=None, problem=None, restartable=False,
            starting=False, entries=1, tensors=(), run=None, run_status=None, progress=None,
            predictions=(predicting,) if batch in self.wished else (),
        )  # fmt: skip

    def forget(self, batch: str) -> None:
        pass

    def _fail(self, what: str) -> None:
        if self.errors.get(what):
            raise self.errors[what].pop(0)


class FakeStorage:
    """Leases that are wished for, always. `refused`: what is put is refused."""

    def __init__(self) -> None:
        self.put_there: list[Lease] = []
        self.refused = False
        self.get_fails: list[Exception] = []

    def get(self, key: str) -> Fetched:
        if self.get_fails:
            raise self.get_fails.pop(0)
        return Fetched(WISH, "e", 0)

    def put(self, key: str, data: bytes, **_: Any) -> str:
        lease = Lease.decode(data)
        if self.refused and lease.released:
            raise StorageRefuses("AccessDenied")
        self.put_there.append(lease)
        return "e"


class FakePrediction:
    """Does what the test says in place of predicting."""

    run_as: Callable[[], Awaitable[None]]

    def __init__(self, *_: Any) -> None:
        pass

    async def run(self) -> None:
        await type(self).run_as()


Test = Callable[[Worker, FakeViews, FakeStorage], Awaitable[None]]


def with_worker(test: Test, views: FakeViews, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs it beside a worker that looks ten times a second."""
    monkeypatch.setattr(module, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(module, "Prediction", FakePrediction)
    storage = FakeStorage()
    artefact = SimpleNamespace(card=SimpleNamespace(transform=TransformSpec()))

    async def main() -> None:
        answering = Answering(ready=lambda: True, artefact=lambda _: artefact, submit=None)  # type: ignore
        worker = Worker(storage, views, answering, lambda _: None)  # type: ignore[arg-type]
        try:
            async with asyncio.timeout(20):
                await test(worker, views, storage)
        finally:
            await worker.close()

    asyncio.run(main())


async def until(holds: Callable[[], object]) -> None:
    while not holds():
        await asyncio.sleep(0.005)


async def rested(views: FakeViews, *names: str) -> None:
    """Until each of these was looked at, and none is due for the next ten minutes."""
    await until(lambda: all(views.looked[name] for name in names))
    views.looked.clear()


def test_what_was_asked_for_is_not_forgotten_where_the_storage_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(worker: Worker, views: FakeViews, _: FakeStorage) -> None:
        await rested(views, "a", "b", "c")
        views.errors = {"": [StorageAway("late")], "a": [StorageAway("late")]}
        for batch in ("a", "b"):
            worker.look_at(batch)
        await until(lambda: views.looked == {"a": 2, "b": 1})
        await asyncio.sleep(0.3)
        assert views.looked == {"a": 2, "b": 1}  # each until it could be read, and no more

    with_worker(test, FakeViews("a", "b", "c"), monkeypatch)


def test_one_that_can_never_be_read_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(worker: Worker, views: FakeViews, _: FakeStorage) -> None:
        worker.look_at("a")
        await until(lambda: views.looked["b"] and views.looked["c"] and views.looked["a"] > 2)

    views = FakeViews("a", "b", "c")
    views.errors = {"a": [StorageAway("late")] * 1000}
    with_worker(test, views, monkeypatch)


def test_a_bucket_that_is_not_there_is_a_line_of_the_log_and_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(worker: Worker, views: FakeViews, _: FakeStorage) -> None:
        await until(lambda: views.looked["a"])

    views = FakeViews("a")
    views.errors = {"": [BatchProblem(503, "storage_away", "There is no such bucket."), StorageRefuses("AccessDenied")]}
    with capture_logs() as lines:
        with_worker(test, views, monkeypatch)
    assert [(line["log_level"], line["code"]) for line in lines] == [
        ("warning", "storage_away"),
        ("warning", "storage_refuses"),
    ]


def test_a_deletion_that_waits_in_vain_says_so_and_blocks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STOP_SECONDS", 0.2)
    begun, go_on = Counter[str](), asyncio.Event()

    async def stubborn() -> None:
        begun["predictions"] += 1
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                begun["cancelled"] += 1

    FakePrediction.run_as = staticmethod(stubborn)  # type: ignore[assignment]

    def delete(worker: Worker) -> None:
        with worker.dropped("a"):
            raise AssertionError("it goes on while it is deleted")

    async def test(worker: Worker, views: FakeViews, _: FakeStorage) -> None:
        await until(lambda: begun["predictions"])
        for attempt in (1, 2):
            with pytest.raises(StorageAway) as away:
                await asyncio.to_thread(delete, worker)
            assert away.value.status == 503 and begun["cancelled"] == attempt
        await until(lambda: not worker._dropped)
        go_on.set()
        await until(lambda: begun["predictions"] > 1)  # it is predicted again, since it is there still

    views = FakeViews("a")
    views.wished = {"a"}
    with_worker(test, views, monkeypatch)


def test_what_times_out_within_a_deletion_is_that_and_the_batch_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def delete(worker: Worker) -> None:
        with worker.dropped("a"):
            assert worker._dropped == {"a"}
            raise TimeoutError("Glue's")

    async def test(worker: Worker, views: FakeViews, _: FakeStorage) -> None:
        with pytest.raises(TimeoutError, match="Glue's"):
            await asyncio.to_thread(delete, worker)
        await until(lambda: not worker._dropped)

    with_worker(test, FakeViews("a"), monkeypatch)


@pytest.mark.parametrize("refused", [False, True])
def test_what_is_refused_in_mid_prediction_is_told_in_its_words(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    """As far as it can be: the lease, too, may be refused."""

    async def refuse() -> None:
        views.wished.clear()
        raise StorageRefuses("AccessDenied")

    FakePrediction.run_as = staticmethod(refuse)  # type: ignore[assignment]

    async def test(worker: Worker, views: FakeViews, storage: FakeStorage) -> None:
        storage.refused = refused
        await until(lambda: worker.current is None and views.looked["a"] > 1)
        if not refused:
            assert storage.put_there[-1].error == ("storage_refuses", StorageRefuses("AccessDenied").message)

    views = FakeViews("a")
    views.wished = {"a"}
    with capture_logs() as lines:
        with_worker(test, views, monkeypatch)
    assert [line["log_level"] for line in lines] == ["info", "warning"] and lines[1]["code"] == "storage_refuses"


def test_a_lease_that_cannot_be_had_is_a_line_of_the_log_and_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async def done() -> None:
        views.wished.clear()

    FakePrediction.run_as = staticmethod(done)  # type: ignore[assignment]

    async def test(worker: Worker, views: FakeViews, storage: FakeStorage) -> None:
        storage.get_fails = [StorageRefuses("AccessDenied")]
        await until(lambda: not views.wished)

    views = FakeViews("a")
    views.wished = {"a"}
    with capture_logs() as lines:
        with_worker(test, views, monkeypatch)
    assert [line["event"] for line in lines] == ["lease not taken", "predicting", "predicted"]
