"""Requests that are refused, each with a status, a code and a message in words; and the routes beside predict."""

import json
import logging
import socket
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from inference.artefacts import ArtefactStore
from tests import pictures
from tests.servers import Service, serve

PICTURE = ("cat.jpg", pictures.sample("cat.jpg"))


def refused(answer: httpx.Response, status: int, code: str) -> str:
    """The message of a refusal, once its shape was checked."""
    assert answer.status_code == status, answer.text
    body = answer.json()
    assert set(body) == {"error"} and set(body["error"]) == {"code", "message"}
    assert body["error"]["code"] == code and body["error"]["message"].endswith(".")
    return str(body["error"]["message"])


def test_no_file(server: Service) -> None:
    empty = server.client.post("/v1/predict", files={"other": PICTURE})
    assert "'images'" in refused(empty, 422, "no_images")
    as_text = server.client.post("/v1/predict", files={"images": (None, "text")})
    refused(as_text, 422, "no_images")


@pytest.mark.parametrize("count", [10, 11, 40])
def test_ten_files_and_more(server: Service, count: int) -> None:
    assert "9 pictures" in refused(server.post(*[PICTURE] * count), 422, "too_many_images")


@pytest.mark.parametrize("top_k", ["0", "1001", "x", "", "-1", "1.5"])
def test_top_k_out_of_range(server: Service, top_k: str) -> None:
    assert "top_k" in refused(server.post(PICTURE, top_k=top_k), 422, "invalid_parameter")


def test_an_unknown_model_or_precision(server: Service) -> None:
    assert "Known models: resnet18, resnet50" in refused(server.post(PICTURE, model="x"), 404, "unknown_model")
    refused(server.post(PICTURE, model="../../etc"), 404, "unknown_model")
    assert "fp32" in refused(server.post(PICTURE, precision="fp31"), 404, "unknown_model")


def test_a_known_model_that_is_missing(server: Service) -> None:
    assert "ninefold models build resnet18" in refused(server.post(PICTURE, model="resnet18"), 409, "model_missing")
    refused(server.post(PICTURE, precision="int8"), 409, "model_missing")


@pytest.mark.parametrize("content_type", ["application/jsonl", "image/jpeg", "text/plain", None])
def test_a_body_that_is_no_multipart(server: Service, content_type: str | None) -> None:
    headers = {"content-type": content_type} if content_type else {}
    refused(server.client.post("/v1/predict", content=b"{}", headers=headers), 415, "unsupported_media_type")


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=x"])
def test_a_body_that_only_claims_to_be_multipart(server: Service, header: str) -> None:
    refused(
        server.client.post("/v1/predict", content=b"nonsense", headers={"content-type": header}),
        422,
        "malformed_multipart",
    )


def test_no_such_address_and_no_such_method(server: Service) -> None:
    refused(server.client.get("/v1/nothing"), 404, "not_found")
    refused(server.client.get("/v1/predict"), 405, "method_not_allowed")


def test_a_body_over_the_limit_by_its_announced_length(models_dir: Path) -> None:
    with serve(models_dir, max_body_mb=0.2) as server:
        heavy = ("big.jpg", b"\0" * 300_000)
        assert "Send fewer pictures" in refused(server.post(heavy), 413, "body_too_large")
        assert server.post(PICTURE).status_code == 200


def test_a_body_over_the_limit_whose_length_is_not_announced(models_dir: Path) -> None:
    def endless():
        yield b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\n'
        for _ in range(400):
            yield b"\0" * 1000

    with serve(models_dir, max_body_mb=0.2) as server:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        refused(server.client.post("/v1/predict", content=endless(), headers=headers), 413, "body_too_large")


def test_a_full_queue_is_a_429_that_says_when_to_come_back(models_dir: Path) -> None:
    with serve(models_dir, queue_images=9, threads=1) as server:
        assert server.app is not None
        with server.app.state.predictor.scheduler.reserve(5, 0):
            answer = server.post(*[PICTURE] * 5)
            refused(answer, 429, "overloaded")
            assert 1 <= int(answer.headers["retry-after"]) <= 30
        assert server.post(*[PICTURE] * 5).status_code == 200


def test_not_ready_until_the_golden_image_got_its_answer(models_dir: Path) -> None:
    with serve(models_dir) as server:
        assert server.app is not None
        predictor = server.app.state.predictor
        predictor.ready, predictor.why_not_ready = False, "the golden image was misjudged"
        for answer in (server.client.get("/readyz"), server.post(PICTURE)):
            assert "golden image" in refused(answer, 503, "not_ready")
            assert answer.headers["retry-after"] == "1"
        assert server.client.get("/healthz").status_code == 200
        predictor.ready = True


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_health_does_not_lie_about_dead_workers(models_dir: Path) -> None:
    with serve(models_dir, threads=1) as server:
        assert server.app is not None
        assert server.metric("ninefold_ready ") == 1
        lanes = server.app.state.predictor.scheduler._lanes
        lanes._take = None  # the thread fails when it asks for the next picture
        assert server.predict(PICTURE)[0]["status"] == "ok"
        lanes._threads[0].join(5)
        refused(server.client.get("/healthz"), 503, "broken")
        assert server.client.get("/readyz").status_code == 503 and server.metric("ninefold_ready ") == 0


def test_a_model_that_misjudges_its_golden_image_never_becomes_ready(models_dir: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(models_dir / "efficientnet_lite0", tmp_path / "efficientnet_lite0")
    card = tmp_path / "efficientnet_lite0" / "fp32" / "card.json"
    data = json.loads(card.read_text())
    data["golden"]["predictions"][0].update(index=1, label="goldfish")
    card.write_text(json.dumps(data))
    with serve(tmp_path, ready=False) as server:
        deadline = time.monotonic() + 20
        while "being loaded" in (message := refused(server.client.get("/readyz"), 503, "not_ready")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert "espresso" in message and "goldfish" in message
        refused(server.post(PICTURE), 503, "not_ready")


def test_an_unexpected_error_is_a_500_whose_id_is_in_the_log(
    models_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serve(models_dir) as server:
        assert server.app is not None
        server.app.state.predictor.resolve = lambda *_: 1 / 0
        with caplog.at_level(logging.ERROR):
            answer = server.post(PICTURE)
        refused(answer, 500, "internal")
        # A logger that was given a level of its own, as Streamlit gives some, does not ask the root's.
        (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert record.exc_info and answer.headers["x-request-id"] in str(record.__dict__)


def test_models_are_listed_with_status_and_reason(server: Service, store: ArtefactStore) -> None:
    models = {model["name"]: model for model in server.client.get("/v1/models").json()["models"]}
    lite, resnet = models["efficientnet_lite0"], models["resnet18"]
    assert (lite["default"], lite["status"]) == (True, "ready") and "resnet18, the default, is missing" in lite[
        "reason"
    ]
    assert (resnet["default"], resnet["status"], resnet["variants"]) == (False, "missing", [])
    assert "ninefold models build resnet18" in resnet["reason"]
    (variant,) = lite["variants"]
    assert variant["precision"] == "fp32" and variant["default"] and variant["size_bytes"] > 1e7
    assert variant["agreement"]["top1"] == 1.0 and variant["agreement"]["images"] > 0


def test_docs_need_no_other_host(server: Service) -> None:
    page = server.client.get("/docs").text
    assert "swagger-ui" in page and "https://" not in page and "http://" not in page
    assert server.client.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
    schema = server.client.get("/openapi.json").json()
    assert {"/v1/predict", "/v1/models", "/healthz", "/readyz"} <= set(schema["paths"])
    assert "multipart/form-data" in schema["paths"]["/v1/predict"]["post"]["requestBody"]["content"]


def test_metrics_count_requests_images_and_the_queue(server: Service) -> None:
    before = (
        server.metric('ninefold_images_total{outcome="ok"}'),
        server.metric('ninefold_images_total{outcome="empty"}'),
    )
    server.predict(PICTURE, PICTURE, ("x", b""))
    after = (
        server.metric('ninefold_images_total{outcome="ok"}'),
        server.metric('ninefold_images_total{outcome="empty"}'),
    )
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
    assert (
        server.metric("ninefold_ready ") == 1 and server.metric('ninefold_waiting_images{priority="interactive"}') == 0
    )
    assert server.metric('ninefold_batch_images_count{model="efficientnet_lite0",precision="fp32"}') >= 2
    server.client.get("/made/up/path")
    assert "made" not in server.client.get("/metrics").text


def test_a_request_id_is_given_or_kept_when_it_is_sane(server: Service) -> None:
    given = server.client.get("/healthz").headers["x-request-id"]
    assert len(given) == 32
    assert server.client.get("/healthz", headers={"x-request-id": "abc-1"}).headers["x-request-id"] == "abc-1"
    assert server.client.get("/healthz", headers={"x-request-id": "a b{}"}).headers["x-request-id"] not in (
        "a b{}",
        given,
    )


def hang_up(server: Service, head: bytes, body: bytes) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head + body)


def head(length: int) -> bytes:
    return (
        b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        b"Content-Length: " + str(length).encode() + b"\r\n\r\n"
        b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n'
    )


def test_a_client_that_goes_away_in_mid_upload_leaves_nothing_behind(
    server: Service, caplog: pytest.LogCaptureFixture
) -> None:
    before = server.metric('ninefold_http_requests_total{method="POST",route="/v1/predict",status="499"}')
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            hang_up(server, head(5_000_000), b"\0" * 100_000)
        deadline = time.monotonic() + 10
        while (
            server.metric('ninefold_http_requests_total{method="POST",route="/v1/predict",status="499"}') < before + 3
        ):
            assert time.monotonic() < deadline, "the server did not notice"
            time.sleep(0.02)
    assert not caplog.records
    assert server.metric('ninefold_waiting_images{priority="interactive"}') == 0
    assert server.predict(PICTURE)[0]["status"] == "ok"


def test_a_client_that_does_not_wait_for_its_answer_gives_its_place_free(models_dir: Path) -> None:
    with serve(models_dir, threads=1, decode_threads=1) as server:
        assert server.app is not None
        decoder, release, entered = server.app.state.predictor._decoder, threading.Event(), threading.Event()
        original = decoder.pixels

        def slow(*given):
            pixels = original(*given)
            entered.set()
            assert release.wait(10)
            return pixels

        decoder.pixels = slow
        body = PICTURE[1] + b"\r\n--x--\r\n"
        start = head(0).index(b"--x\r\n")
        length = len(head(0)) - start + len(body)
        hang_up_when(server, head(length), body, entered)
        deadline = time.monotonic() + 10
        while server.metric('ninefold_waiting_images{priority="interactive"}'):
            assert time.monotonic() < deadline, "the place was not given free"
            time.sleep(0.02)
        decoder.pixels = original
        release.set()
        assert server.predict(PICTURE)[0]["status"] == "ok"
        assert server.metric('ninefold_images_total{outcome="ok"}') == 1, "nothing was classified for who went away"


def hang_up_when(server: Service, start: bytes, body: bytes, entered: threading.Event) -> None:
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(start + body)
        assert entered.wait(10)


def part(name: str, data: bytes) -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="images"; filename="{name}"\r\n\r\n'.encode() + data + b"\r\n"


def multipart(server: Service, body: bytes, content_type: str = "multipart/form-data; boundary=x") -> httpx.Response:
    return server.client.post("/v1/predict", content=body, headers={"content-type": content_type})


@pytest.mark.parametrize("cut", [1, 4, 6, 1000, len(PICTURE[1])])
def test_a_multipart_that_breaks_off_is_never_answered_with_fewer_pictures(server: Service, cut: int) -> None:
    body = part("1.jpg", PICTURE[1]) + part("2.jpg", PICTURE[1]) + b"--x--\r\n"
    assert len(multipart(server, body).json()["results"]) == 2
    assert len(multipart(server, body[:-2]).json()["results"]) == 2  # the line break after the end is not needed
    assert "breaks off" in refused(multipart(server, body[: -2 - cut]), 422, "malformed_multipart")


@pytest.mark.parametrize("charset", ["undefined", "utf-16", "nonsense", "idna"])
def test_a_charset_in_the_header_does_no_harm(server: Service, charset: str) -> None:
    body = part("1.jpg", PICTURE[1]) + b"--x--\r\n"
    answer = multipart(server, body, f"multipart/form-data; boundary=x; charset={charset}")
    assert answer.json()["results"][0]["status"] == "ok"


def test_too_many_fields_are_not_called_too_many_pictures(server: Service) -> None:
    fields = {f"f{n}": (None, "x") for n in range(11)}
    refused(server.client.post("/v1/predict", files={**fields, "images": PICTURE}), 422, "malformed_multipart")


def test_an_upload_that_stalls_is_given_up(models_dir: Path) -> None:
    with serve(models_dir, stall_seconds=0.3) as server:
        address = urlsplit(server.url)
        with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
            connection.sendall(head(5_000_000) + b"\0" * 1000)
            answer = b""
            while piece := connection.recv(4096):
                answer += piece
        assert answer.startswith(b"HTTP/1.1 408") and b"upload_stalled" in answer
        assert server.predict(PICTURE)[0]["status"] == "ok"


def test_uploads_on_their_way_are_bounded(models_dir: Path) -> None:
    with serve(models_dir, max_uploads=3) as server:
        address = urlsplit(server.url)
        held = [socket.create_connection((address.hostname, address.port)) for _ in range(3)]
        try:
            for connection in held:
                connection.sendall(head(5_000_000) + b"\0" * 1000)
            deadline = time.monotonic() + 10
            assert server.app is not None
            while server.app.state.predictor._receiving < 3:
                assert time.monotonic() < deadline
                time.sleep(0.01)
            while server.metric('ninefold_waiting_images{priority="interactive"}'):
                assert time.monotonic() < deadline, "who is slow holds a place for a second, not longer"
                time.sleep(0.02)
            answer = server.post(PICTURE)
            refused(answer, 429, "overloaded")
            assert answer.headers["retry-after"] == "1"
        finally:
            for connection in held:
                connection.close()
        deadline = time.monotonic() + 10
        while server.post(PICTURE).status_code != 200:
            assert time.monotonic() < deadline, "the places were not given free"
            time.sleep(0.02)


def test_health_answers_head_and_a_405_says_what_is_allowed(server: Service) -> None:
    assert server.client.head("/healthz").status_code == server.client.head("/readyz").status_code == 200
    assert server.client.delete("/v1/predict").headers["allow"] == "POST"


def test_a_long_name_of_a_model_is_not_sent_back_whole(server: Service) -> None:
    assert len(server.post(PICTURE, model="x" * 30_000).content) < 500


def test_a_damaged_model_says_so_and_answers_once_it_is_mended(models_dir: Path, tmp_path: Path) -> None:
    import shutil

    for name in ("efficientnet_lite0", "resnet18-seeded"):
        shutil.copytree(models_dir / name, tmp_path / name)
    network = tmp_path / "resnet18-seeded" / "fp32" / "model.xml"
    good = network.read_bytes()
    with serve(tmp_path) as server:
        network.write_bytes(good + b"\n")
        assert "--force" in refused(server.post(PICTURE, model="resnet18-seeded"), 503, "model_damaged")
        network.write_bytes(good)
        assert server.post(PICTURE, model="resnet18-seeded").status_code == 200
        (tmp_path / "efficientnet_lite0" / "fp32" / "card.json").write_text("{")
        assert server.post(PICTURE).status_code == 200  # what is loaded goes on
