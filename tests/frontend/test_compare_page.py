"""The page that compares, without a browser: what needs one is in tests/e2e."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.frontend.fake_server import LABELS, FakeServer, Reply, busy

APP = Path(__file__).parents[2] / "frontend" / "app.py"


@pytest.fixture
def page(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    return AppTest.from_file(str(APP), default_timeout=20).switch_page("views/compare.py").run()


def words(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def until(page: AppTest, condition: Callable[[str], bool]) -> str:
    """Runs it again, as the heartbeat does in a browser."""
    deadline = time.monotonic() + 20
    while not condition(words(page)):
        assert time.monotonic() < deadline, words(page)[-3000:]
        page.run()
    return words(page)


def answered(cells: int) -> Callable[[str], bool]:
    return lambda shown: shown.count('<div class="nf-bar">') == cells


def test_the_empty_page_says_what_to_do_and_has_all_variants_of_the_default_chosen(page: AppTest) -> None:
    assert "Drop pictures above" in words(page)
    assert page.multiselect(key="variants").value == ["small:fp32", "small:int8"]


def test_the_samples_go_through_every_variant_one_by_one(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    shown = until(page, answered(18))
    assert "Both variants give the same answer for <b>9 of 9 pictures</b>." in shown
    assert len(server.asked) == 20 and server.most_at_once == 1
    assert {len(each.names) for each in server.asked} == {1}


def test_answers_that_differ_are_marked_in_words(page: AppTest, server: FakeServer) -> None:
    server.said["int8"] = LABELS[::-1]
    page.button(key="samples").click().run()
    shown = until(page, answered(18))
    assert "for <b>0 of 9 pictures</b>" in shown
    assert shown.count("≠ Answers differ") == 9 and shown.count("differs from the first") == 9


def test_taking_a_variant_away_and_back_asks_nothing(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    until(page, answered(18))
    page.multiselect(key="variants").set_value(["small:int8"]).run()
    assert "Choose a second variant to compare with." in until(page, answered(9))
    page.multiselect(key="variants").set_value(["small:int8", "small:fp32"]).run()
    until(page, answered(18))
    assert len(server.asked) == 20


def test_the_pictures_and_their_answers_go_along_from_page_to_page(page: AppTest, server: FakeServer) -> None:
    page.button(key="samples").click().run()
    until(page, answered(18))
    page.switch_page("views/classify.py").run()
    assert words(page).count("nf-bars") == 9 and len(server.asked) == 20
    page.switch_page("views/compare.py").run()
    until(page, answered(18))
    assert len(server.asked) == 20


def test_no_variant_is_a_word_about_what_to_do(page: AppTest, server: FakeServer) -> None:
    page.multiselect(key="variants").set_value([]).run()
    page.button(key="samples").click().run()
    assert "Choose two or more variants above" in words(page) and server.asked == []


def test_the_address_names_the_variants(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    page = AppTest.from_file(str(APP), default_timeout=20).switch_page("views/compare.py")
    page.query_params["variants"] = ["Small · int8"]
    assert page.run().multiselect(key="variants").value == ["small:int8"]


def test_a_busy_server_is_waited_for_with_words(page: AppTest, server: FakeServer) -> None:
    server.prepared["/v1/predict"] = [busy(seconds="20")]
    page.button(key="samples").click().run()
    shown = until(page, lambda shown: "Asking again in" in shown)
    assert "The server is busy." in shown and "18 answers to come" in shown and len(server.asked) == 1


def test_a_model_that_went_missing_is_its_column_and_may_be_asked_again(page: AppTest, server: FakeServer) -> None:
    gone = {"error": {"code": "model_missing", "message": "small is not here in fp32."}}
    server.prepared["/v1/predict"] = [Reply(409, gone)]
    page.button(key="samples").click().run()
    shown = until(page, answered(9))
    assert shown.count("<code>model_missing</code>") == 9 and "9 pictures not counted" in shown
    page.button(key="again").click().run()
    until(page, answered(18))
    assert not [button for button in page.button if button.key == "again"]


def test_removing_takes_a_row_away_and_all_of_them_too(page: AppTest) -> None:
    page.button(key="samples").click().run()
    until(page, answered(18))
    next(button for button in page.button if button.label == "Remove picture 3").click().run()
    assert "<b>8 of 8 pictures</b>" in until(page, answered(16))
    page.button(key="clear").click().run()
    assert "Drop pictures above" in words(page)


def test_the_downloads_hold_what_is_shown(page: AppTest) -> None:
    page.button(key="samples").click().run()
    until(page, answered(18))
    saved = {button.label: button for button in page.get("download_button")}
    assert set(saved) == {"JSON", "CSV"} and not any(button.proto.disabled for button in saved.values())


@pytest.mark.parametrize(("models", "said"), [([], "ninefold models build"), (None, "The server is away.")])
def test_without_server_or_model_it_says_what_is_the_matter(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, models: list[dict[str, object]] | None, said: str
) -> None:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    if models is None:
        server.close()
    else:
        server.models = models
    page = AppTest.from_file(str(APP), default_timeout=20).switch_page("views/compare.py").run()
    assert said in words(page)
    page.button(key="samples").click().run()
    assert said in words(page) and not page.exception
