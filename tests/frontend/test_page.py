"""The page's reactions without a browser: what needs one is in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.frontend.fake_server import FakeServer, Reply, busy

APP = Path(__file__).parents[2] / "frontend" / "app.py"


@pytest.fixture
def page(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    return AppTest.from_file(str(APP), default_timeout=20).run()


def words(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def test_the_empty_page_says_what_to_do_and_who_answers(page: AppTest) -> None:
    assert "Drop pictures above" in words(page)
    assert "<b>Small</b>" in words(page) and "because large, the default, is missing" in words(page)
    assert page.selectbox(key="model").options == ["Small"]
    assert "Not available here: Large" in words(page) and "ninefold models build large" in words(page)


def test_samples_are_answered_by_one_request(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    assert words(page).count("nf-bars") == 9
    assert len(server.asked) == 1 and len(server.asked[0].names) == 9


def test_every_card_names_model_and_precision(page: AppTest) -> None:
    page.button(key="samples").click().run()
    assert words(page).count('<div class="nf-by">Small <span class="nf-chip">fp32</span></div>') == 9
    page.segmented_control(key="precision-small").set_value("int8").run()
    assert words(page).count('<div class="nf-by">Small <span class="nf-chip">int8</span></div>') == 9


def test_the_address_may_name_the_precision(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    page = AppTest.from_file(str(APP), default_timeout=20)
    page.query_params["precision-small"] = "int8"
    page.run().button(key="samples").click().run()
    assert server.asked[0].query["precision"] == "int8"


def test_moving_top_k_shows_fewer_and_sends_nothing(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    page.slider(key="top_k").set_value(2).run()
    assert words(page).count('role="listitem"') == 18
    assert len(server.asked) == 1


def test_another_precision_asks_again(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    page.segmented_control(key="precision-small").set_value("int8").run()
    assert [asked.query["precision"] for asked in server.asked] == ["fp32", "int8"]


def test_more_than_nine_are_refused_in_words(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    page.button(key="samples").click().run()
    assert "were not taken" in words(page) and words(page).count("nf-bars") == 9
    assert len(server.asked) == 1


def test_removing_all_brings_the_empty_page_back(page: AppTest) -> None:
    page.button(key="samples").click().run()
    page.button(key="clear").click().run()
    assert "Drop pictures above" in words(page)


def test_a_busy_server_is_waited_for_with_words(page: AppTest, server: FakeServer) -> None:
    server.prepared["/v1/predict"] = [busy(seconds="20")]
    page.button(key="samples").click().run()
    assert "The server is busy. Asking again in 20 s." in words(page)
    assert words(page).count("nf-waiting") == 9


def test_a_refusal_stops_until_the_person_asks_again(page: AppTest, server: FakeServer) -> None:
    server.prepared["/v1/predict"] = [Reply(500, {"error": {"code": "internal", "message": "Something broke."}})]
    page.button(key="samples").click().run()
    assert "The server said: Something broke." in words(page)
    page.button(key="again").click().run()
    assert words(page).count("nf-bars") == 9


def test_a_server_that_is_away_is_no_traceback(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    server.close()
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    page = AppTest.from_file(str(APP), default_timeout=20).run()
    assert "The server is away." in words(page)
    page.button(key="samples").click().run()
    assert "Your pictures are kept" in words(page) and words(page).count("nf-waiting") == 9


def test_a_server_without_any_model_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch, server: FakeServer) -> None:
    server.prepared["/v1/models"] = [Reply(200, {"models": []})] * 9
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    assert "ninefold models build" in words(AppTest.from_file(str(APP), default_timeout=20).run())
