from __future__ import annotations

import socket

import pytest

from frontend.api import (
    Absent,
    Agreement,
    Answer,
    Api,
    Busy,
    Prediction,
    Problem,
    Refused,
    Status,
    Transform,
    Unreachable,
    Variant,
    VariantName,
)
from tests.frontend.fake_server import FakeServer, Reply, busy
from tests.pictures import jpeg

FP32 = VariantName("small", "fp32")


def test_predict_gives_one_answer_a_file_in_their_order(server: FakeServer) -> None:
    answers = Api(server.url).predict(FP32, [("a.jpg", jpeg()), ("b.jpg", b"no picture")], 2)
    assert answers == [
        Answer("a.jpg", (Prediction("cat", 1, 0.5), Prediction("dog", 2, 0.25))),
        Answer("b.jpg", problem=Problem("corrupt", "The picture is damaged.")),
    ]
    assert server.asked[0].query == {"model": "small", "precision": "fp32", "top_k": "2"}


def test_models_are_typed(server: FakeServer) -> None:
    small, large = Api(server.url).models()
    assert (small.ready, small.default, [v.precision for v in small.variants]) == (True, True, ["fp32", "int8"])
    assert (large.ready, large.reason.endswith("ninefold models build large")) == (False, True)
    assert small.transform == Transform(256, 224, "bilinear") and large.transform is None
    assert small.variants[0] == Variant("fp32", True, 18_600_000, Agreement("torch, float32", 32, 1.0))
    assert small.variants[1] == Variant("int8", False)
    assert large.absent == (Absent("fp32", "ninefold models build large"),)


@pytest.mark.parametrize("status", [429, 503])
def test_busy_tells_how_long_to_wait(server: FakeServer, status: int) -> None:
    server.prepared["/v1/predict"] = [busy(status, "7")]
    with pytest.raises(Busy, match="busy") as caught:
        Api(server.url).predict(FP32, [("a.jpg", jpeg())], 5)
    assert caught.value.retry_after == 7


@pytest.mark.parametrize(("said", "waited"), [("soon", 2), ("-3", 0), ("86400", 30)])
def test_a_strange_retry_after_is_kept_within_reason(server: FakeServer, said: str, waited: float) -> None:
    server.prepared["/v1/predict"] = [busy(seconds=said)]
    with pytest.raises(Busy) as caught:
        Api(server.url).predict(FP32, [("a.jpg", jpeg())], 5)
    assert caught.value.retry_after == waited


def test_a_refusal_keeps_code_and_words(server: FakeServer) -> None:
    error = {"error": {"code": "unknown_model", "message": "There is no model of that name."}}
    server.prepared["/v1/predict"] = [Reply(404, error)]
    with pytest.raises(Refused, match="no model of that name") as caught:
        Api(server.url).predict(FP32, [("a.jpg", jpeg())], 5)
    assert (caught.value.status, caught.value.code) == (404, "unknown_model")


@pytest.mark.parametrize("body", ["<html>Bad gateway</html>", {"detail": "x"}, [], {"error": "text"}])
def test_an_error_in_another_shape_still_has_words(server: FakeServer, body: object) -> None:
    server.prepared["/v1/predict"] = [Reply(502, body)]
    with pytest.raises(Refused, match="status 502"):
        Api(server.url).predict(FP32, [("a.jpg", jpeg())], 5)


@pytest.mark.parametrize("body", ["no json", {"results": []}, {"results": [{"name": "a.jpg"}]}, [], {}])
def test_an_unreadable_answer_is_a_refusal(server: FakeServer, body: object) -> None:
    server.prepared["/v1/predict"] = [Reply(200, body)]
    with pytest.raises(Refused, match="could not be read"):
        Api(server.url).predict(FP32, [("a.jpg", jpeg())], 5)


def test_nobody_there_is_unreachable() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(Unreachable):
            Api(url).models()
        assert Api(url).look() == Status("away")


def test_look_tells_ready_starting_and_away(server: FakeServer) -> None:
    api = Api(server.url)
    assert api.look().state == "ready"
    server.prepared["/readyz"] = [busy(503), Reply(500, "broken")]
    assert [api.look().state, api.look().state] == ["starting", "away"]


@pytest.mark.parametrize("name", ['a"b.jpg', "line\r\nbreak.jpg", "<script>.jpg", "🦜.jpg"])
def test_a_hostile_name_does_not_break_the_request(server: FakeServer, name: str) -> None:
    answers = Api(server.url).predict(FP32, [(name, jpeg()), ("b.jpg", jpeg())], 1)
    assert [answer.problem for answer in answers] == [None, None]
