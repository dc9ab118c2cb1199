"""The server and its precisions: int8 takes over when it comes, fp32 answers where it cannot, and says why."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backend import predictor
from tests import pictures
from tests.servers import Service, serve

MODEL = "efficientnet_lite0"
KOALA = ("koala.jpg", pictures.sample("koala.jpg"))


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "FOLLOW_SECONDS", 0.1)


@pytest.fixture
def own(int8_dir: Path, tmp_path: Path) -> Path:
    """A folder of models with fp32 alone."""
    shutil.copytree(int8_dir / MODEL / "fp32", tmp_path / MODEL / "fp32")
    return tmp_path


def add_int8(own: Path, int8_dir: Path) -> Path:
    """By one rename, as the build does."""
    shutil.copytree(int8_dir / MODEL / "int8", own / "coming")
    return (own / "coming").rename(own / MODEL / "int8")


def damage(folder: Path) -> None:
    weights = (folder / "model.bin").read_bytes()
    (folder / "model.bin").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))


def default(server: Service) -> dict[str, Any]:
    """What /v1/models says of the model that answers, with its default precision."""
    found = next(model for model in server.client.get("/v1/models").json()["models"] if model["default"])
    precision = next(variant["precision"] for variant in found["variants"] if variant["default"])
    return {"precision": precision, "why": found["why_not_int8"]}


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_first_answer_is_from_fp32_and_int8_follows_by_itself(own: Path, int8_dir: Path) -> None:
    with serve(own, threads=1) as server:
        assert server.post(KOALA).json()["precision"] == "fp32"
        assert f"`ninefold models quantize {MODEL}`" in default(server)["why"]
        add_int8(own, int8_dir)
        until(lambda: default(server)["precision"] == "int8")
        answer = server.post(KOALA).json()
        assert answer["precision"] == "int8" and answer["results"][0]["predictions"][0]["label"] == "koala"
        assert default(server)["why"] is None
        assert server.post(KOALA, precision="fp32").json()["precision"] == "fp32"


def test_a_damaged_int8_leaves_fp32_at_work_and_is_tried_again_once_it_was_made_anew(own: Path, int8_dir: Path) -> None:
    damage(add_int8(own, int8_dir))
    with serve(own, threads=1) as server:
        assert server.post(KOALA).json()["precision"] == "fp32"
        assert "is not the file that its card describes" in default(server)["why"]
        shutil.rmtree(own / MODEL / "int8")
        folder = add_int8(own, int8_dir)
        card = (folder / "card.json").read_text()
        (folder / "card.json").write_text(card.replace('"built_at": "20', '"built_at": "21'))
        until(lambda: default(server)["precision"] == "int8")
        assert server.post(KOALA).json()["precision"] == "int8"


def test_a_queue_that_is_full_only_puts_the_change_off(own: Path, int8_dir: Path) -> None:
    with serve(own, threads=1) as server:
        assert server.app is not None
        scheduler = server.app.state.predictor.scheduler
        scheduler._queue_limit = 0
        add_int8(own, int8_dir)
        time.sleep(1)
        assert default(server)["precision"] == "fp32"
        scheduler._queue_limit = 9
        until(lambda: default(server)["precision"] == "int8")


def test_whoever_asked_for_fp32_keeps_it(own: Path, int8_dir: Path) -> None:
    with serve(own, threads=1, precision="fp32") as server:
        add_int8(own, int8_dir)
        time.sleep(1)
        assert default(server) == {"precision": "fp32", "why": None}
