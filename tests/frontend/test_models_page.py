"""The page of models, without a browser: what needs one is in tests/e2e."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from tests.frontend.evaluations import evaluation
from tests.frontend.fake_server import FakeServer, Reply

APP = Path(__file__).parents[2] / "frontend" / "app.py"


@pytest.fixture
def page(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    """Not yet run."""
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    return AppTest.from_file(str(APP), default_timeout=20).switch_page("views/models.py")


def words(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def commands(page: AppTest) -> list[str]:
    return [code.value for code in page.code]


def test_every_model_is_there_with_the_command_that_adds_what_is_missing(page: AppTest) -> None:
    shown = words(page.run())
    assert "Small" in shown and "Large" in shown and "answers by default" in shown
    assert commands(page)[:2] == ["ninefold models build large", "ninefold models prune small --data DIR"]


def test_without_an_evaluation_it_says_what_makes_one(page: AppTest) -> None:
    assert "Nothing has been evaluated yet." in words(page.run())
    assert commands(page)[-1] == "ninefold evaluate --data DIR --models all"
    assert not page.get("vega_lite_chart") and "nf-measured" not in words(page)


def test_the_last_evaluation_is_a_plot_and_a_table(page: AppTest, server: FakeServer) -> None:
    server.evaluation = evaluation()
    shown = words(page.run())
    assert "nf-measured" in shown and "holiday" in shown and "Not evaluated: Large" in shown
    (plot,) = page.get("vega_lite_chart")
    assert "Top-1 accuracy" in plot.proto.spec and "The table has the same figures." in plot.proto.alt
    assert "ninefold evaluate" not in "".join(commands(page))


def test_one_without_variants_is_none(page: AppTest, server: FakeServer) -> None:
    server.evaluation = evaluation(variants=[])
    assert "Nothing has been evaluated yet." in words(page.run())


def test_one_that_cannot_be_read_is_told_in_the_servers_words(page: AppTest, server: FakeServer) -> None:
    damaged = {"error": {"code": "evaluation_damaged", "message": "evaluation.json cannot be read: EOF."}}
    server.prepared["/v1/evaluation"] = [Reply(503, damaged)] * 3
    shown = words(page.run())
    assert "evaluation.json cannot be read: EOF." in shown and "Small" in shown


def test_a_server_that_is_away_is_no_traceback(page: AppTest, server: FakeServer) -> None:
    server.close()
    assert "The server is away." in words(page.run())


def test_a_server_without_any_model_says_how_to_get_one(page: AppTest, server: FakeServer) -> None:
    server.models = []
    assert "ninefold models build" in words(page.run())
