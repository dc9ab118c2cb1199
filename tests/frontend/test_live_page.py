"""The page *Live* without a browser: what it hands to the component, and what it says of the server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from tests.frontend.fake_server import FakeServer
from tests.frontend.test_live import closed_to, prepare

APP = Path(__file__).parents[2] / "frontend" / "app.py"


@pytest.fixture
def page(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    monkeypatch.setenv("NINEFOLD_PUBLIC_API_URL", "https://ninefold.example")
    prepare(server, "", "No detector.", "No detector.", "")
    return AppTest.from_file(str(APP), default_timeout=20).switch_page("views/live.py")


def words(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def handed(page: AppTest) -> dict[str, Any]:
    """The data of the component."""
    (component,) = page.get("bidi_component")
    return dict(json.loads(component.proto.json))


def test_the_browser_is_told_whom_to_ask_and_what_is_off(page: AppTest) -> None:
    assert "What does the camera see?" in words(page.run())
    assert handed(page) == {
        "api": "https://ninefold.example",
        "token": None,
        "model": "small",
        "precision": "fp32",
        "title": "Small",
        "modes": {"classify": "", "detect": "No detector.", "detect+classify": "No detector."},
        "filter": "",
    }


def test_another_precision_is_handed_on(page: AppTest) -> None:
    page.run().segmented_control(key="precision-small").set_value("int8").run()
    assert handed(page)["precision"] == "int8" and "<span class='nf-chip'>int8</span> answers" in words(page)


def test_a_page_that_nobody_named_is_told_so(page: AppTest, server: FakeServer) -> None:
    closed_to(server, "NINEFOLD_PAGE_ORIGINS names those that may.")
    assert "NINEFOLD_PAGE_ORIGINS names those that may." in words(page.run())


def test_a_server_without_any_model_says_how_to_get_one(page: AppTest, server: FakeServer) -> None:
    server.models = []
    assert "ninefold models build" in words(page.run())
    assert handed(page)["model"] is None


def test_a_server_that_is_away_is_no_traceback(page: AppTest, server: FakeServer) -> None:
    server.close()
    assert "The server is away." in words(page.run())
    assert handed(page)["model"] is None
