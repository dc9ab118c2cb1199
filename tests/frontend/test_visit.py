from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest

from frontend.api import Api, Status, VariantName
from frontend.pictures import Tray
from frontend.visit import Patience, Visit
from tests.frontend.fake_server import FakeServer, Reply, busy
from tests.pictures import jpeg

FP32, INT8 = VariantName("small", "fp32"), VariantName("small", "int8")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(server: FakeServer, clock: Clock) -> Visit:
    visit = Visit(Api(server.url), Tray(25_000_000), ThreadPoolExecutor(1), clock=clock)
    visit.look()
    visit.choose(FP32)
    visit.tray.add([("a.jpg", jpeg((32, 24))), ("b.jpg", jpeg((32, 24)))])
    return visit


def answered(here: Visit) -> None:
    """Asks, and has what came of it."""
    before = here.changes
    here.ask()
    here.collect(10)
    assert here.changes == before + 1


def looked(here: Visit) -> bool:
    """Looks, and tells whether something changed."""
    before = here.changes
    here.look()
    return here.changes != before


def test_pictures_are_asked_for_together_and_once(here: Visit, server: FakeServer) -> None:
    answered(here)
    assert not here.due
    here.tray.add([("c.jpg", jpeg((32, 24)))])
    answered(here)
    assert [asked.names for asked in server.asked] == [["a.jpg", "b.jpg"], ["c.jpg"]]
    assert {asked.query["top_k"] for asked in server.asked} == {"10"}


def test_another_variant_asks_again_and_coming_back_does_not(here: Visit, server: FakeServer) -> None:
    answered(here)
    here.choose(INT8)
    assert here.due
    answered(here)
    here.choose(FP32)
    assert not here.due and len(server.asked) == 2


def test_a_busy_server_is_asked_again_when_it_said(here: Visit, server: FakeServer, clock: Clock) -> None:
    server.prepared["/v1/predict"] = [busy(429, "3")]
    answered(here)
    assert not here.due and here.patience.words == "The server is busy."
    clock.now += 3
    assert here.due
    answered(here)
    assert here.tray.waiting(FP32) == [] and here.patience == Patience()


def test_patience_ends_and_can_be_renewed(here: Visit, server: FakeServer, clock: Clock) -> None:
    server.prepared["/v1/predict"] = [busy(503, "1")] * 5
    for _ in range(5):
        assert here.due
        answered(here)
        clock.now += 1
    assert here.patience.spent and not here.due
    here.patience.reset()
    assert here.due


def test_a_refusal_is_not_repeated_by_itself(here: Visit, server: FakeServer, clock: Clock) -> None:
    server.prepared["/v1/predict"] = [Reply(500, {"error": {"code": "internal", "message": "Something broke."}})]
    answered(here)
    clock.now += 1000
    assert here.patience.spent and not here.due


def test_a_server_that_goes_and_comes_is_noticed_and_its_answers_stay(
    here: Visit, server: FakeServer, clock: Clock
) -> None:
    answered(here)
    server.prepared["/readyz"] = [busy(503)]
    clock.now += 10
    assert looked(here) and here.status.state == "starting" and not here.due
    assert here.status.models and here.tray.answer(here.tray.pictures[0], FP32)
    clock.now += 10
    assert looked(here) and here.status.state == "ready"


def test_a_look_is_not_repeated_at_once(here: Visit, server: FakeServer) -> None:
    server.close()
    assert not looked(here) and here.status.state == "ready"


def test_a_server_that_died_is_seen_as_soon_as_asking_fails(here: Visit, server: FakeServer) -> None:
    server.close()
    answered(here)
    assert looked(here) and here.status.state == "away" and not here.due
    assert len(here.tray.waiting(FP32)) == 2


def test_nothing_is_asked_of_nobody(server: FakeServer) -> None:
    alone = Visit(Api(server.url), Tray(25_000_000), ThreadPoolExecutor(1), status=Status("ready"))
    alone.tray.add([("a.jpg", jpeg((32, 24)))])
    alone.ask()
    assert not alone.due and server.asked == []


def test_a_slow_server_holds_nobody(here: Visit, server: FakeServer) -> None:
    server.unheld.clear()
    here.ask()
    here.collect(0.01)
    assert here.asking and not here.due
    here.tray.remove(here.tray.pictures[0].id)
    here.tray.add([("c.jpg", jpeg((32, 24)))])
    here.ask()
    server.unheld.set()
    here.collect(10)
    assert [picture.name for picture in here.tray.waiting(FP32)] == ["c.jpg"]
    assert [asked.names for asked in server.asked] == [["a.jpg", "b.jpg"]]


def test_two_runs_at_once_take_an_answer_in_once(here: Visit, server: FakeServer) -> None:
    server.unheld.clear()
    before = here.changes
    runs = [Thread(target=here.ask) for _ in range(4)] + [Thread(target=here.collect, args=(10,)) for _ in range(4)]
    here.ask()
    for run in runs:
        run.start()
    server.unheld.set()
    for run in runs:
        run.join()
    assert (len(server.asked), here.changes, here.tray.waiting(FP32)) == (1, before + 1, [])
