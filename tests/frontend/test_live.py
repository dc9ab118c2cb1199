"""What the page *Live* knows of the server: which modes are off and why, and the browser's token."""

from __future__ import annotations

from typing import Any

import pytest

from frontend.api import Api
from frontend.live import LOOK_EVERY, MODES, Live, Offer
from frontend.tokens import FRESH_SECONDS, Tokens
from tests.frontend.fake_server import FakeServer, Reply, busy

ORIGIN = "http://127.0.0.1:8501"


def refused(message: str) -> dict[str, str] | None:
    return {"code": "model_missing", "message": message} if message else None


def prepare(server: FakeServer, *messages: str) -> None:
    """What stands against classify, detect, detect+classify and the filter."""
    *modes, denoise = map(refused, messages)
    told = {"modes": dict(zip(MODES, modes, strict=True)), "filter": denoise}
    server.prepared["/v1/live/modes"] = [Reply(200, told)]


def closed_to(server: FakeServer, message: str) -> None:
    """The page's origin may open nothing."""
    error = {"code": "origin_not_allowed", "message": message}
    server.prepared["/v1/live/modes"] = [Reply(403, {"error": error})]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def here(server: FakeServer, clock: Clock) -> Live:
    api = Api(server.url, "nf_1_x")
    return Live(api, Tokens(api, clock), clock)


def test_what_is_refused_is_off_in_the_servers_words_and_comes_back(
    here: Live, server: FakeServer, clock: Clock
) -> None:
    prepare(server, "", "No detector.", "No detector.", "No filter.")
    here.look(ORIGIN)
    assert here.offer == Offer(
        {"classify": "", "detect": "No detector.", "detect+classify": "No detector."}, "No filter."
    )
    assert here.changes == 1 and here.offer.closed == ""
    here.look(ORIGIN)
    assert here.changes == 1, "that was a moment ago, so nobody was asked"
    clock.now += LOOK_EVERY
    prepare(server, "", "", "", "")
    here.look(ORIGIN)
    assert (here.offer, here.changes) == (Offer(), 2)


def test_it_asks_once_as_the_browsers_page_would(
    here: Live, server: FakeServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str, Any]] = []
    send = here.api.send

    def note(method: str, path: str, **more: Any) -> Any:
        asked.append((method, path, more["headers"]))
        return send(method, path, **more)

    monkeypatch.setattr(here.api, "send", note)
    for _ in range(6):
        prepare(server, "", "", "", "")
        here.look(ORIGIN)
        clock.now += LOOK_EVERY
    assert asked == [("GET", "/v1/live/modes", {"Origin": ORIGIN})] * 6


def test_one_that_is_busy_or_away_says_nothing_about_what_is_off(here: Live, server: FakeServer, clock: Clock) -> None:
    prepare(server, "", "No detector.", "No detector.", "")
    here.look(ORIGIN)
    known = here.offer
    clock.now += LOOK_EVERY
    server.prepared["/v1/live/modes"] = [busy()]
    here.look(ORIGIN)
    server.close()
    clock.now += LOOK_EVERY
    here.look(ORIGIN)
    assert here.offer == known and known.modes["detect"] == "No detector."


def test_a_page_that_nobody_named_is_closed_as_a_whole(here: Live, server: FakeServer) -> None:
    closed_to(server, "Pages of here may not.")
    here.look(ORIGIN)
    assert here.offer.closed == "Pages of here may not." and here.offer.filter == ""


def test_the_token_is_one_for_live_and_another_one_once_it_is_over(
    here: Live, server: FakeServer, clock: Clock
) -> None:
    server.prepared["/v1/tokens"] = [
        Reply(201, {"token": f"t{number}", "expires_at": "2030-01-01T00:00:00Z", "batch": None}) for number in range(2)
    ]
    assert (here.token(), here.token()) == ("t0", "t0")
    here.look(ORIGIN)
    drawn = here.changes
    clock.now += FRESH_SECONDS
    here.look(ORIGIN)
    assert here.changes > drawn, "so the page is drawn anew, and with another"
    assert here.token() == "t1"


def test_a_token_that_is_good_still_is_not_given_up_for_none(here: Live, server: FakeServer, clock: Clock) -> None:
    first, last = (
        Reply(201, {"token": word, "expires_at": "2030-01-01T00:00:00Z", "batch": None}) for word in ("t0", "t1")
    )
    server.prepared["/v1/tokens"] = [first, busy(503), last]
    assert here.token() == "t0"
    here.look(ORIGIN)
    drawn = here.changes
    clock.now += FRESH_SECONDS
    here.look(ORIGIN)
    assert (here.changes, here.token()) == (drawn, "t0"), "the page stays as it is drawn"
    clock.now += 3
    here.look(ORIGIN)
    assert (here.changes, here.token()) == (drawn + 1, "t1")
