"""POST /v1/predict with JSON: the same answer as for the same pictures as files, and the same limits."""

import asyncio
import base64
import errno
import json
import time
import tracemalloc
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from backend.api.json_images import _name_in
from backend.api.uploads import harmless
from inference.scheduler import Priority
from tests import pictures
from tests.backend.test_requests import refused
from tests.servers import Service, serve

KOALA, MACAW = pictures.sample("koala.jpg"), pictures.sample("macaw.jpg")


def encoded(data: bytes, **more: str) -> dict[str, str]:
    return {"base64": base64.b64encode(data).decode()} | more


def post(server: Service, *images: Any, **params: Any) -> httpx.Response:
    return server.client.post("/v1/predict", json={"images": images}, params=params)


def test_the_answer_is_that_of_the_same_files(server: Service) -> None:
    as_json = post(server, encoded(KOALA, name="koala.jpg"), encoded(b"x", name="no.jpg"), encoded(MACAW, name="m"))
    as_files = server.post(("koala.jpg", KOALA), ("no.jpg", b"x"), ("m", MACAW))
    assert as_json.status_code == 200 and as_json.json() == as_files.json()
    assert as_json.headers["content-type"] == as_files.headers["content-type"]
    assert set(as_json.json()) == {"model", "precision", "results"}
    good, bad, _ = as_json.json()["results"]
    assert good["status"] == "ok" and good["predictions"][0]["label"] == "koala" and len(good["predictions"]) == 5
    assert all(set(row) == {"label", "index", "probability"} for row in good["predictions"])
    assert bad == {"name": "no.jpg", "status": "error", "error": bad["error"]} and set(bad["error"]) == {
        "code",
        "message",
    }


def test_parameters_and_metrics_are_those_of_files(server: Service) -> None:
    before = server.metric('ninefold_images_total{outcome="invalid_base64"}')
    body = post(server, encoded(KOALA), {"base64": "*"}, top_k=2, model="resnet18-seeded").json()
    assert body["model"] == "resnet18-seeded" and len(body["results"][0]["predictions"]) == 2
    assert [row["name"] for row in body["results"]] == ["image 1", "image 2"]
    assert server.metric('ninefold_images_total{outcome="invalid_base64"}') == before + 1


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "empty"),
        ("data:image/jpeg;base64," + encoded(KOALA)["base64"], "invalid_base64"),
        (encoded(KOALA)["base64"][:-1] + "\n", "invalid_base64"),
        ("QQ==QQ==", "invalid_base64"),
        ("QQ", "invalid_base64"),
        ("_-__", "invalid_base64"),
        ("ä" * 8, "invalid_base64"),
        (encoded(b"\0" * 25_000_003)["base64"], "too_many_bytes"),
        (encoded(b"\0" * 25_000_001)["base64"], "too_many_bytes"),
        (encoded(pictures.png_of_size(10_000, 6_000))["base64"], "too_many_pixels"),
    ],
    ids=["empty", "data", "newline", "two", "unpadded", "urlsafe", "umlaut", "huge", "one more", "megapixels"],
)
def test_a_bad_picture_is_a_row_and_harms_no_other(server: Service, text: str, code: str) -> None:
    bad, good = post(server, {"base64": text}, encoded(KOALA)).json()["results"]
    assert bad["error"]["code"] == code and bad["error"]["message"].endswith(".")
    assert good["predictions"][0]["label"] == "koala"


def test_addresses_are_off_unless_allowed(server: Service) -> None:
    sent = [{"url": "http://127.0.0.1/a%20cat.jpg"}, {"url": "https://x.example/"}, {"url": "http://[", "name": "n"}]
    rows = post(server, *sent).json()["results"]
    assert [row["error"]["code"] for row in rows] == ["urls_off"] * 3
    assert all("as base64" in row["error"]["message"] for row in rows)
    assert [row["name"] for row in rows] == ["a cat.jpg", "image 2", "n"]


@pytest.mark.parametrize(
    "body",
    [
        "", "{", "[]", "null", '{"images": 1}', '{"images": ["x"]}', '{"images": [{}]}', '{"pictures": []}',
        '{"images": [{"base64": "QQ==", "url": "http://x"}]}', '{"images": [{"base64": 1}]}',
        '{"images": [{"base64": "QQ==", "top_k": 1}]}', '{"images": [{"base64": "QQ=="}], "top_k": 1}',
        '{"images": [{"base64": "\\ud800"}]}', b'{"images": [{"base64": "\xff"}]}', "[" * 5000,
        "[" + "[]," * 30_000 + "1]", '{"images": ' + "9" * 5000 + "}", '{"images": NaN}',
    ],
    ids=range(18),
)  # fmt: skip
def test_what_is_not_the_expected_json(server: Service, body: str | bytes) -> None:
    answer = server.client.post("/v1/predict", content=body, headers={"content-type": "application/json"})
    assert "'images'" in refused(answer, 422, "malformed_json")


def test_one_to_nine_pictures(server: Service) -> None:
    refused(post(server), 422, "no_images")
    assert "9 pictures" in refused(post(server, *[{"base64": "QQ=="}] * 10), 422, "too_many_images")


@pytest.mark.parametrize("kind", ["Application/JSON", "application/json; charset=utf-8"])
def test_the_type_may_be_written_otherwise(server: Service, kind: str) -> None:
    body = json.dumps({"images": [encoded(KOALA)]})
    answer = server.client.post("/v1/predict", content=body, headers={"content-type": kind})
    assert answer.json()["results"][0]["status"] == "ok"


def test_a_full_queue_refuses_before_the_body_is_read(models_dir: Path) -> None:
    with serve(models_dir, queue_images=9, threads=1, max_body_mb=0.001, body_memory_mb=0.001) as server:
        assert server.app is not None
        # No JSON: were it parsed, it would be another error.
        full = server.app.state.predictor.scheduler.reserve(9, Priority.INTERACTIVE)
        with full:
            answer = server.client.post("/v1/predict", content="{", headers={"content-type": "application/json"})
        refused(answer, 429, "overloaded")
        heavy = server.client.post("/v1/predict", json={"images": [encoded(bytes(2000))]})
        refused(heavy, 413, "body_too_large")
        assert server.app.state.bodies._held == 0


def test_bodies_in_memory_are_bounded_together(models_dir: Path) -> None:
    with serve(models_dir, threads=1, max_body_mb=0.1, body_memory_mb=0.1) as server:
        assert server.app is not None
        bodies = server.app.state.bodies
        bodies._held = 60_000  # as if another request had so much
        answer = post(server, encoded(bytes(60_000)))
        refused(answer, 429, "overloaded")
        assert "retry-after" in answer.headers
        assert bodies._held == 60_000
        assert post(server, encoded(bytes(20_000))).status_code == 200 and bodies._held == 60_000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ä" * 2_000_000, "ä" * 255),
        ("/" * 2_000_000, "image 1"),
        ("\n" * 2_000_000, "image 1"),
        ("a/" * 1_000_000 + "koala.jpg", "koala.jpg"),
    ],
    ids=["long", "slashes", "controls", "path"],
)
def test_a_name_costs_as_little_as_it_may_have_letters(name: str, shown: str) -> None:
    """A request's whole body may be one name, and this is the event loop's own work."""
    tracemalloc.start()
    try:
        assert harmless(name, 1) == shown
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_so_does_the_name_in_an_address() -> None:
    for url in ("http://x/" + "%41" * 1_000_000, "http://" + "x" * 3_000_000, "http://x/" + "ä" * 1_000_000):
        tracemalloc.start()
        try:
            harmless(_name_in(url), 1)
            assert tracemalloc.get_traced_memory()[1] < 1_000_000
        finally:
            tracemalloc.stop()


def fetching(server: Service, fetch: Callable[[str, Callable[[bytes], Awaitable[None]]], Awaitable[None]]) -> None:
    assert server.app is not None
    server.app.state.fetch = fetch


def test_one_fetch_that_fails_the_request_ends_the_others(models_dir: Path) -> None:
    """The disk fails, say: the others are given up, and have ended when the answer is there."""
    ended = []

    async def fetch(url: str, take: Callable[[bytes], Awaitable[None]]) -> None:
        if url.endswith("bad"):
            await asyncio.sleep(0.05)
            raise OSError(errno.EIO, "the disk")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            ended.append(url)

    with serve(models_dir, threads=1, model="resnet18-seeded") as server:
        fetching(server, fetch)
        refused(post(server, {"url": "http://x/1"}, {"url": "http://x/bad"}, {"url": "http://x/2"}), 500, "internal")
        assert sorted(ended) == ["http://x/1", "http://x/2"]


def test_who_goes_away_gives_his_place_back_once_the_work_has_ended(models_dir: Path) -> None:
    held = []

    async def fetch(url: str, take: Callable[[bytes], Awaitable[None]]) -> None:
        assert server.app is not None
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.05)
            held.append(server.app.state.predictor._receiving)

    with serve(models_dir, threads=1, model="resnet18-seeded") as server:
        fetching(server, fetch)
        with pytest.raises(httpx.ReadTimeout):
            server.client.post(
                "/v1/predict", json={"images": [{"url": "http://x/"}]}, timeout=httpx.Timeout(20, read=1)
            )
        deadline = time.monotonic() + 20
        while not held:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert held == [1]
