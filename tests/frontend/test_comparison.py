from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import pytest

from frontend.api import Api, VariantName
from frontend.comparison import WATCHED_SECONDS, Comparison
from frontend.pictures import Tray
from frontend.visit import Asking, Visit
from tests.frontend.fake_server import FakeServer, Reply, busy
from tests.pictures import jpeg

FP32, INT8, LARGE = VariantName("small", "fp32"), VariantName("small", "int8"), VariantName("large", "fp32")


class Clock:
    """Stands still unless it is moved, or moves by `step` whenever it is read."""

    def __init__(self, step: float = 0) -> None:
        self.now, self.step = 100.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def workers() -> Iterator[Executor]:
    with ThreadPoolExecutor(8) as executor:
        yield executor


@pytest.fixture
def here(server: FakeServer, workers: Executor) -> Comparison:
    """Two pictures before two variants."""
    visit = Visit(Api(server.url), Tray(25_000_000), workers, clock=Clock())
    visit.tray.add([("a.jpg", jpeg()), ("b.jpg", jpeg(seed=1))])
    comparison = Comparison(visit, workers, drawing=0)
    comparison.choose([FP32, INT8])
    return comparison


def go(here: Comparison) -> None:
    """What a run of the page does, until nothing is under way."""
    here.visit.look_again()
    here.watch()
    here.start()
    here.settle(20)
    assert not here.busy


def asked(server: FakeServer) -> list[str]:
    return [f"{each.query['model']} {each.query['precision']} {'+'.join(each.names)}" for each in server.asked]


def test_a_picture_a_request_one_after_the_other_and_the_first_of_a_variant_twice(
    here: Comparison, server: FakeServer
) -> None:
    go(here)
    assert asked(server) == [
        *("small fp32 a.jpg", "small fp32 a.jpg", "small fp32 b.jpg"),
        *("small int8 a.jpg", "small int8 a.jpg", "small int8 b.jpg"),
    ]
    assert server.most_at_once == 1 and here.table().waiting == 0


def test_the_answer_that_warms_up_is_not_what_is_timed(here: Comparison) -> None:
    times = iter([0, 9, 10, 10.5, 20, 20.25, 30, 37, 40, 40.125, 50, 50.125])
    here.timer = lambda: next(times)
    go(here)
    table = here.table()
    a, b = table.pictures
    assert [table.cell(p, v).seconds for v in (FP32, INT8) for p in (a, b)] == [0.5, 0.25, 0.125, 0.125]  # type: ignore[union-attr]
    assert next(times, None) is None


def test_another_variant_asks_for_that_one_alone_and_another_picture_for_that_one(
    here: Comparison, server: FakeServer
) -> None:
    go(here)
    server.asked.clear()
    server.models[1] |= {"status": "ready", "variants": [{"precision": "fp32", "default": True}]}
    here.choose([INT8, LARGE, FP32])
    go(here)
    assert asked(server) == ["large fp32 a.jpg", "large fp32 a.jpg", "large fp32 b.jpg"]
    server.asked.clear()
    here.visit.tray.add([("c.jpg", jpeg(seed=2))])
    here.choose([FP32])
    go(here)
    assert asked(server) == ["small fp32 c.jpg", "small fp32 c.jpg"]
    here.choose([FP32, LARGE])
    go(here)
    assert asked(server)[2:] == ["large fp32 c.jpg", "large fp32 c.jpg"]


def test_what_was_removed_is_forgotten_and_nothing_is_asked_again(here: Comparison, server: FakeServer) -> None:
    go(here)
    server.asked.clear()
    here.visit.tray.remove(here.visit.tray.pictures[0].id)
    go(here)
    assert [picture.name for picture in here.table().pictures] == ["b.jpg"]
    assert len(here.table().cells) == 2 and asked(server) == []


def test_the_page_of_pictures_knows_the_answers_too(here: Comparison) -> None:
    go(here)
    assert here.visit.tray.waiting(FP32) == [] and here.visit.tray.waiting(INT8) == []


def test_a_bad_picture_is_a_cell_and_the_others_go_on(here: Comparison, server: FakeServer) -> None:
    here.visit.tray.clear()
    here.visit.tray.add([("bad.jpg", b"no picture"), ("a.jpg", jpeg())])
    go(here)
    table = here.table()
    bad = table.cell(table.pictures[0], FP32)
    assert bad and bad.answer.problem and (bad.answer.problem.code, bad.seconds, bad.again) == ("corrupt", None, False)
    assert table.cell(table.pictures[1], INT8) and not here.failed
    assert asked(server).count("small fp32 bad.jpg") == 1, "it is not asked twice, and warms nothing up"
    assert asked(server).count("small fp32 a.jpg") == 2


def test_a_picture_that_is_too_large_is_told_so_in_every_column_without_being_sent(
    here: Comparison, server: FakeServer
) -> None:
    here.visit.tray.clear()
    here.visit.tray.max_bytes = 10
    here.visit.tray.add([("a.jpg", jpeg())])
    go(here)
    assert here.table().waiting == 0 and server.asked == []


def test_a_missing_model_is_its_column_and_asked_again_only_when_told(here: Comparison, server: FakeServer) -> None:
    gone = Reply(409, {"error": {"code": "model_missing", "message": "small has not been built in fp32."}})
    server.prepared["/v1/predict"] = [gone]
    go(here)
    table = here.table()
    cells = [table.cell(picture, FP32) for picture in table.pictures]
    assert [cell and cell.answer.problem and cell.answer.problem.code for cell in cells] == ["model_missing"] * 2
    assert all(table.best(picture, INT8) for picture in table.pictures)
    assert here.failed and asked(server)[0] == "small fp32 a.jpg" and len(server.asked) == 4
    go(here)
    assert len(server.asked) == 4
    here.again()
    go(here)
    assert len(server.asked) == 7 and not here.failed and here.table().waiting == 0


def test_another_refusal_is_of_its_cell_and_may_be_asked_again(here: Comparison, server: FakeServer) -> None:
    server.prepared["/v1/predict"] = [Reply(500, {"error": {"code": "internal", "message": "Something broke."}})]
    go(here)
    table = here.table()
    first, second = (table.cell(picture, FP32) for picture in table.pictures)
    assert first and first.again and second and second.answer.predictions
    here.again()
    go(here)
    assert not here.failed and table.waiting == 0


def test_a_busy_server_is_asked_again_when_it_said_and_not_before(here: Comparison, server: FakeServer) -> None:
    server.prepared["/v1/predict"] = [busy(seconds="7")]
    go(here)
    assert here.patience.words == "The server is busy." and here.table().waiting == 4
    go(here)
    assert len(server.asked) == 1
    here.visit.clock.now += 7.1  # type: ignore[attr-defined]
    go(here)
    assert here.table().waiting == 0 and not here.patience.words


def test_after_five_refusals_only_the_person_asks_again(here: Comparison, server: FakeServer) -> None:
    server.prepared["/v1/predict"] = [busy(seconds="0")] * 5
    for _ in range(9):
        here.visit.clock.now += 3  # type: ignore[attr-defined]
        go(here)
    assert len(server.asked) == 5 and here.failed
    here.again()
    go(here)
    assert here.table().waiting == 0


def test_a_page_that_was_closed_asks_no_more(here: Comparison, server: FakeServer) -> None:
    server.unheld.clear()
    here.watch()
    here.start()
    while not server.asked:
        pass
    here.visit.clock.now += WATCHED_SECONDS  # type: ignore[attr-defined]
    server.unheld.set()
    here.settle(20)
    assert len(server.asked) == 1 and here.table().waiting == 4


def test_it_waits_for_what_another_page_has_asked(here: Comparison, server: FakeServer) -> None:
    server.unheld.clear()
    coming = here.visit.workers.submit(here.visit.api.predict, FP32, [("x.jpg", jpeg())], 5)
    here.visit.asking = Asking(FP32, [], coming)
    go(here)
    assert [each.names for each in server.asked if each.names != ["x.jpg"]] == []
    server.unheld.set()
    here.visit.asking = None
    go(here)
    assert here.table().waiting == 0 and server.most_at_once == 1


def test_comparisons_wait_for_one_another_and_not_where_pictures_are_asked(
    here: Comparison, server: FakeServer
) -> None:
    free = threading.Event()
    with ThreadPoolExecutor(1) as alone, ThreadPoolExecutor(1) as few:
        other = few.submit(free.wait)
        here.workers, here.visit.workers = few, alone
        here.watch()
        here.start()
        asked_elsewhere = alone.submit(here.visit.api.predict, FP32, [("x.jpg", jpeg())], 5)
        try:
            assert asked_elsewhere.result(20) and here.busy and here.queued
            assert [each.names for each in server.asked] == [["x.jpg"]]
        finally:
            free.set()
        assert other.result(20)
        here.settle(20)
    assert here.table().waiting == 0 and not here.queued


@pytest.mark.parametrize("state", ["starting", "away"])
def test_nothing_is_asked_of_a_server_that_is_not_ready(here: Comparison, server: FakeServer, state: str) -> None:
    server.prepared["/readyz"] = [busy(503) if state == "starting" else Reply(500, "broken")]
    go(here)
    assert here.visit.status.state == state and server.asked == []
    before = here.changes
    go(here)
    assert here.changes > before and here.table().waiting == 0
