"""The Open Inference Protocol, asked by the unmodified tritonclient; what it would never send, by plain HTTP."""

import asyncio
import base64
import json
import struct
import threading
import time
import tracemalloc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
from fastapi import Request, Response
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult
from tritonclient.utils import InferenceServerException

from backend.api.bodies import Bodies
from backend.api.errors import ApiError
from backend.api.v2 import routes
from backend.api.v2.request import Bounds, asked
from contract.keys import new_key, new_keys
from contract.transform import ImageLimits, TransformSpec, to_pixels
from inference.scheduler import Priority
from tests import cameras, pictures
from tests.cameras import opened, wait_for
from tests.servers import Service, process, serve

NAMES = ("koala.jpg", "macaw.jpg", "espresso.jpg")
FILES = [pictures.sample(name) for name in NAMES]
MODEL = "efficientnet_lite0"
Pixels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def triton(server: Service) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def pixels() -> Pixels:
    return np.stack([to_pixels(data, TransformSpec()) for data in FILES])


def of_pixels(array: Pixels, binary: bool = True) -> InferInput:
    tensor = InferInput("pixels", list(array.shape), "UINT8")
    tensor.set_data_from_numpy(array, binary_data=binary)
    return tensor


def of_files(files: list[bytes], binary: bool = True) -> InferInput:
    tensor = InferInput("images", [len(files)], "BYTES")
    sent = files if binary else [base64.b64encode(data) for data in files]
    tensor.set_data_from_numpy(np.array(sent, dtype=np.object_), binary_data=binary)
    return tensor


def logits(result: InferResult) -> npt.NDArray[np.float32]:
    found = result.as_numpy("logits")
    assert found is not None and found.dtype == np.float32
    return found


def test_the_server_and_its_models_are_described(triton: InferenceServerClient) -> None:
    assert triton.is_server_live() and triton.is_server_ready()
    about = triton.get_server_metadata()
    assert about["name"] == "ninefold" and about["extensions"] == ["binary_tensor_data", "classification"]
    model = triton.get_model_metadata(MODEL)
    assert model["name"] == MODEL and model["versions"] == ["fp32"]
    assert model["inputs"] == [
        {"name": "pixels", "datatype": "UINT8", "shape": [-1, 224, 224, 3]},
        {"name": "images", "datatype": "BYTES", "shape": [-1]},
    ]
    assert model["outputs"] == [{"name": "logits", "datatype": "FP32", "shape": [-1, 1000]}]
    assert triton.get_model_metadata(MODEL, "fp32") == model
    assert triton.is_model_ready(MODEL) and triton.is_model_ready(MODEL, "fp32")
    assert not triton.is_model_ready(MODEL, "int8") and not triton.is_model_ready("resnet18")
    assert not triton.is_model_ready("nothing")


def test_pixels_in_binary_and_as_json_and_files_give_the_same(triton: InferenceServerClient, pixels: Pixels) -> None:
    """And the same as /v1/predict."""
    in_json = [InferRequestedOutput("logits", binary_data=False)]
    asked: list[tuple[InferInput, Any]] = [
        (of_pixels(pixels), None),
        (of_pixels(pixels, binary=False), in_json),
        (of_pixels(pixels), in_json),
        (of_files(FILES), None),
        (of_files(FILES, binary=False), in_json),
    ]
    answers = [logits(triton.infer(MODEL, [tensor], outputs=outputs)) for tensor, outputs in asked]
    assert answers[0].shape == (3, 1000)
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer, answers[0])


def test_the_most_probable_classes(triton: InferenceServerClient, server: Service) -> None:
    rows = server.predict(*zip(NAMES, FILES, strict=True), top_k=3)
    for binary in (True, False):
        wanted = [InferRequestedOutput("logits", binary_data=binary, class_count=3)]
        result = triton.infer(MODEL, [of_files(FILES)], outputs=wanted, request_id="seven", model_version="fp32")
        head = result.get_response()
        assert (head["id"], head["model_name"], head["model_version"]) == ("seven", MODEL, "fp32")
        found = result.as_numpy("logits")
        assert found is not None and found.shape == (3, 3)
        for row, line in zip(rows, found.tolist(), strict=True):
            for expected, text in zip(row["predictions"], line, strict=True):
                shown = text.decode() if binary else text
                probability, index, label = shown.split(":", 2)
                assert (int(index), label) == (expected["index"], expected["label"])
                assert float(probability) == pytest.approx(expected["probability"], abs=1e-5)


@pytest.mark.parametrize("kind", ["pixels", "files"])
def test_a_batch_of_32(triton: InferenceServerClient, server: Service, pixels: Pixels, kind: str) -> None:
    """In order, counted as images and as answers of a batch."""
    few = logits(triton.infer(MODEL, [of_pixels(pixels)]))
    counted = 'ninefold_images_total{outcome="ok"}'
    confidence = f'ninefold_answer_confidence_count{{kind="batch",model="{MODEL}",precision="fp32"}}'
    before = server.metric(counted), server.metric(confidence)
    order = [n % 3 for n in range(32)]
    tensor = of_pixels(pixels[order]) if kind == "pixels" else of_files([FILES[n] for n in order])
    np.testing.assert_array_equal(logits(triton.infer(MODEL, [tensor])), few[order])
    assert (server.metric(counted), server.metric(confidence)) == (before[0] + 32, before[1] + 32)


def test_a_batch_holds_no_more_places_than_half_of_the_queue(models_dir: Path, pixels: Pixels) -> None:
    """Sixty-four images in a queue of ten: nine at a time, after people's, and people are let in."""
    with serve(models_dir, threads=1, queue_images=10, model="resnet18-seeded") as server:
        assert server.app is not None
        scheduler, most = server.app.state.predictor.scheduler, [0]
        take = scheduler._take_places

        def watched(more: int, priority: Priority) -> None:
            take(more, priority)
            if priority is Priority.MANY:
                most[0] = max(most[0], scheduler.waiting(priority))

        scheduler._take_places = watched
        with InferenceServerClient(server.url.removeprefix("http://"), network_timeout=60) as client:
            answer = logits(client.infer("resnet18-seeded", [of_pixels(np.repeat(pixels[:1], 64, axis=0))]))
            assert answer.shape == (64, 1000) and most == [9]
            with scheduler.reserve(9, Priority.MANY):
                with pytest.raises(InferenceServerException, match="as much to do as it can take") as raised:
                    client.infer("resnet18-seeded", [of_pixels(np.repeat(pixels[:1], 10, axis=0))])
                assert raised.value.status() == "429"
                client.infer("resnet18-seeded", [of_pixels(pixels)])
            with (
                scheduler.reserve(8, Priority.INTERACTIVE),
                pytest.raises(InferenceServerException, match="as much to do"),
            ):
                client.infer("resnet18-seeded", [of_pixels(pixels)])
            with scheduler.reserve(10, Priority.INTERACTIVE):  # before anything is read: this is no JSON
                refused = server.client.post("/v2/models/resnet18-seeded/infer", content="{")
                assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        assert scheduler.waiting(Priority.MANY) == scheduler.waiting(Priority.INTERACTIVE) == 0


def test_batches_that_hold_all_their_places_leave_cameras_theirs(models_dir: Path, pixels: Pixels) -> None:
    gate = threading.Event()

    class Held:
        max_batch = memory_bytes = 1

        def __call__(self, given: Pixels) -> Any:
            assert gate.wait(30)
            return np.zeros((len(given), 1000), np.float32)

    with serve(models_dir, threads=1, model="resnet18-seeded") as server, ThreadPoolExecutor(2) as programs:
        assert server.app is not None
        scheduler = server.app.state.predictor.scheduler
        (variant,) = scheduler.loaded
        scheduler._loaded[variant] = Held()
        text = json.dumps(tensor("pixels", "UINT8", [18, 224, 224, 3], size=18 * 150_528)).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        url, body = f"{server.url}/v2/models/resnet18-seeded/infer", text + bytes(18 * 150_528)
        try:
            asked = [programs.submit(httpx.post, url, content=body, headers=headers, timeout=60) for _ in range(2)]
            wait_for(lambda: scheduler.waiting(Priority.MANY) == scheduler._queue_limit)
            assert httpx.post(url, content=body, headers=headers).status_code == 429
            with opened(server) as camera:
                camera.send(FILES[0])
                wait_for(lambda: scheduler.waiting(Priority.LIVE) == 1)
                gate.set()
                assert "labels" in cameras.answer(camera)
        finally:
            gate.set()
        assert [each.result().status_code for each in asked] == [200, 200]


def test_a_bad_picture_fails_the_request_which_names_it(triton: InferenceServerClient, server: Service) -> None:
    before = server.metric('ninefold_images_total{outcome="empty"}')
    with pytest.raises(InferenceServerException) as raised:
        triton.infer(MODEL, [of_files([FILES[0], b"", FILES[1], b"text"])])
    assert raised.value.status() == "400"
    assert "no answer: 1, 3. Image 1: The file is empty." in raised.value.message()
    assert server.metric('ninefold_images_total{outcome="empty"}') == before + 1
    answer = post(server, tensor("images", "BYTES", [1], ["*"]))
    assert answer.status_code == 400 and "Image 0: This is no base64" in answer.json()["error"]


@pytest.mark.parametrize(
    ("model", "version", "status", "words"),
    [
        ("nothing", "", "404", "There is no model"),
        (MODEL, "7", "404", "Known precisions"),
        (MODEL, "int8", "409", "has not been built in int8"),
        ("resnet18", "", "409", "ninefold models build resnet18"),
    ],
)
def test_models_that_are_not_there(
    triton: InferenceServerClient, model: str, version: str, status: str, words: str
) -> None:
    for call in (
        lambda: triton.infer(model, [of_files(FILES)], model_version=version),
        lambda: triton.get_model_metadata(model, version),
    ):
        with pytest.raises(InferenceServerException, match=words) as raised:
            call()
        assert raised.value.status() == status


def test_what_the_client_can_ask_and_the_server_does_not_do(triton: InferenceServerClient, pixels: Pixels) -> None:
    shared = InferInput("pixels", [3, 224, 224, 3], "UINT8")
    shared.set_shared_memory("region", pixels.nbytes)
    other = InferInput("images", list(pixels.shape), "UINT8")
    other.set_data_from_numpy(pixels)
    floats = InferInput("pixels", [1, 2], "FP32")
    floats.set_data_from_numpy(np.zeros((1, 2), np.float32))
    cases: list[tuple[list[InferInput], Any, str]] = [
        ([shared], None, "shared memory"),
        ([other], None, "The input must be 'pixels' of UINT8 or 'images' of BYTES"),
        ([floats], None, "The input must be"),
        ([of_pixels(pixels), of_files(FILES)], None, "inputs: List should have at most 1 item"),
        ([of_pixels(pixels[:, :100])], None, r"must be \[N, 224, 224, 3\], not \[3, 100, 224, 3\]"),
        ([of_pixels(np.repeat(pixels, 22, axis=0))], None, "1 to 64 images, not 66"),
        ([of_pixels(np.repeat(pixels, 4, axis=0), binary=False)], None, "1 to 9 images as JSON numbers"),
        ([of_files(FILES)], [InferRequestedOutput("labels")], "no output 'labels', only 'logits'"),
        ([of_files(FILES)], [InferRequestedOutput("logits", class_count=1001)], "classification"),
        ([of_files(FILES)], [InferRequestedOutput("logits")] * 2, "outputs: List should have at most 1 item"),
    ]
    for inputs, outputs, words in cases:
        with pytest.raises(InferenceServerException, match=words) as raised:
            triton.infer(MODEL, inputs, outputs=outputs)
        assert raised.value.status() == "400"
    with pytest.raises(InferenceServerException, match="content encoding") as raised:
        triton.infer(MODEL, [of_files(FILES)], request_compression_algorithm="gzip")
    assert raised.value.status() == "415"


def post(server: Service, request: Any, binary: bytes = b"", length: str | None = None) -> httpx.Response:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    headers = {"Inference-Header-Content-Length": length or str(len(text))} if binary or length else {}
    return server.client.post(f"/v2/models/{MODEL}/infer", content=text + binary, headers=headers)


def tensor(name: str, datatype: str, shape: list[int], data: Any = None, size: Any = None) -> dict[str, Any]:
    more = ({} if data is None else {"data": data}) | (
        {} if size is None else {"parameters": {"binary_data_size": size}}
    )
    return {"inputs": [{"name": name, "datatype": datatype, "shape": shape} | more]}


def bytes_of(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(data)) + data for data in files)


ONE = [1, 224, 224, 3]
BAD: dict[str, tuple[Any, bytes, str | None, str]] = {
    "no json": (b"{", b"", None, "cannot be read"),
    "a list": ([], b"", None, "valid dictionary"),
    "no input": ({"inputs": []}, b"", None, "inputs"),
    "too many parts": (b"[" * 2_000_000, b"", None, "parts"),
    "no data": (tensor("pixels", "UINT8", ONE), b"", None, "either data or"),
    "no number": (tensor("pixels", "UINT8", ONE, ["x"] * 100), b"", None, "whole numbers"),
    "too many strings": (tensor("pixels", "UINT8", ONE, ["x"] * 150_528), b"", None, "more than 10000 strings"),
    "fractions": (tensor("pixels", "UINT8", ONE, [0.5] * 150_528), b"", None, "whole numbers"),
    "256": (tensor("pixels", "UINT8", ONE, [256] * 150_528), b"", None, "whole numbers"),
    "below 0": (tensor("pixels", "UINT8", ONE, [-1] * 150_528), b"", None, "whole numbers"),
    "mixed lists": (tensor("pixels", "UINT8", ONE, [[0], 0]), b"", None, "whole numbers"),
    "lists too deep": (tensor("pixels", "UINT8", ONE, [[[[[0]]]]]), b"", None, "whole numbers"),
    "a text": (tensor("pixels", "UINT8", ONE, "0" * 150_528), b"", None, "whole numbers"),
    "lists and a text": (tensor("pixels", "UINT8", ONE, [[0], "0" * 150_527]), b"", None, "whole numbers"),
    "lists and an object": (tensor("pixels", "UINT8", ONE, [[0], {"1": 1}]), b"", None, "whole numbers"),
    "a large number": (tensor("pixels", "UINT8", ONE, 10**12), b"", None, "whole numbers"),
    "too few": (tensor("pixels", "UINT8", ONE, [0] * 150_527), b"", None, "needs 150528 values, and 150527"),
    "no images": (tensor("pixels", "UINT8", [0, 224, 224, 3], []), b"", None, "1 to 64 images, not 0"),
    "fewer than none": (tensor("pixels", "UINT8", [-1, 224, 224, 3], []), b"", None, "not -1"),
    "binary too short": (tensor("pixels", "UINT8", ONE, size=9), b"123456789", None, "needs 150528 values, and 9"),
    "another size": (tensor("pixels", "UINT8", ONE, size=8), b"123456789", None, "9 bytes follow the JSON"),
    "no such bytes": (tensor("pixels", "UINT8", ONE, size=8), b"", None, "0 bytes follow the JSON"),
    "both": (tensor("pixels", "UINT8", ONE, [0], size=1), b"1", None, "either data or"),
    "a longer header": (tensor("images", "BYTES", [1], size=1), b"1", "9999", "says 9999"),
    "no length": (tensor("images", "BYTES", [1], size=1), b"1", "-1", "says -1"),
    "element breaks off": (tensor("images", "BYTES", [1], size=5), b"\xff\xff\xff\xff1", None, "Element 0"),
    "length breaks off": (tensor("images", "BYTES", [1], size=2), b"\1\0", None, "Element 0"),
    "one too few": (tensor("images", "BYTES", [2], size=5), bytes_of(b"x"), None, "needs 2 elements, and 1"),
    "one too many": (tensor("images", "BYTES", [1], size=10), bytes_of(b"x", b"y"), None, "needs 1 elements, and 2"),
    "no strings": (tensor("images", "BYTES", [1], [1]), b"", None, "list of strings"),
    "no list": (tensor("images", "BYTES", [1], "QQ=="), b"", None, "list of strings"),
    "a long name": (tensor("x" * 1000, "BYTES", [1], ["QQ=="]), b"", None, "at most 128 characters"),
    "a long datatype": (tensor("images", "B" * 1000, [1], ["QQ=="]), b"", None, "at most 128 characters"),
    "long numbers": (tensor("images", "BYTES", [10**20 - 1] * 8, ["QQ=="]), b"", None, "must be [N]"),
    "a long head": (tensor("images", "BYTES", [1], "Q" * 70_000, 1), b"1", None, "The JSON before"),
    "two dimensions": (tensor("images", "BYTES", [1, 1], ["QQ=="]), b"", None, "must be [N]"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_requests_that_are_not_as_the_protocol_has_them(server: Service, kind: str) -> None:
    request, binary, length, words = BAD[kind]
    answer = post(server, request, binary, length)
    assert answer.status_code == 400, answer.text
    body = answer.json()
    assert set(body) == {"error"} and words in body["error"] and body["error"].endswith(".")
    assert server.app is not None and server.app.state.bodies._held == 0


def test_numbers_may_be_nested(server: Service, pixels: Pixels) -> None:
    flat = post(server, tensor("pixels", "UINT8", ONE, pixels[0].ravel().tolist())).json()
    nested = post(server, tensor("pixels", "UINT8", ONE, pixels[:1].tolist())).json()
    assert flat == nested and nested["outputs"][0]["shape"] == [1, 1000] and "id" not in flat


def test_who_goes_away_takes_the_images_along(models_dir: Path) -> None:
    with serve(models_dir, threads=1, model="resnet18-seeded") as server:
        assert server.app is not None
        scheduler, begun, given_up = server.app.state.predictor.scheduler, [0], [0]

        async def never(*_: Any) -> None:
            begun[0] += 1
            try:
                await asyncio.Event().wait()
            finally:
                given_up[0] += 1

        scheduler.run = never
        text = json.dumps(tensor("pixels", "UINT8", [20, 224, 224, 3], size=20 * 150_528)).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        url = f"{server.url}/v2/models/resnet18-seeded/infer"
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(url, content=text + bytes(20 * 150_528), headers=headers, timeout=httpx.Timeout(20, read=1))
        deadline = time.monotonic() + 20
        while given_up[0] < 18 or scheduler.waiting(Priority.MANY):
            assert time.monotonic() < deadline, (begun, given_up)
            time.sleep(0.02)
        assert begun == given_up == [18] and server.app.state.bodies._held == 0


def test_a_version_whose_card_cannot_be_read_is_not_ready(models_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "resnet18-seeded").symlink_to(models_dir / "resnet18-seeded")
    damaged = tmp_path / MODEL / "fp32"
    damaged.mkdir(parents=True)
    for name in ("card.json", "model.xml"):
        (damaged / name).write_text("{")
    with serve(tmp_path, threads=1, model="resnet18-seeded") as server:
        with InferenceServerClient(server.url.removeprefix("http://")) as client:
            assert not client.is_model_ready(MODEL) and not client.is_model_ready(MODEL, "fp32")
            assert client.is_model_ready("resnet18-seeded")
        answer = server.client.get(f"/v2/models/{MODEL}/ready")
        assert answer.status_code == 503 and "card.json" in answer.json()["error"]


def test_errors_around_the_routes_have_the_protocols_shape(models_dir: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    key, sent = new_key("somebody")
    path.write_bytes(replace(new_keys(), keys=(key,)).encode())
    with serve(models_dir, threads=1, model="resnet18-seeded", max_body_mb=0.001) as server:
        assert server.app is not None
        cases = [
            (server.client.get("/v2/nothing"), 404),
            (server.client.get("/v2/models/resnet18-seeded/infer"), 405),
            (server.client.post("/v2/models/resnet18-seeded/infer", content=bytes(2000)), 413),
        ]
        server.app.state.predictor.ready = False
        cases += [(server.client.get(f"/v2/{what}"), 503) for what in ("health/ready", "models/resnet18-seeded/ready")]
        for answer, status in cases:
            assert answer.status_code == status and isinstance(answer.json()["error"], str)
        server.app.state.predictor.ready = True
    with serve(models_dir, threads=1, ready=False, model="resnet18-seeded", keys_file=path) as server:
        answer = server.client.get("/v2")
        assert answer.status_code == 401 and answer.json()["error"].startswith("Send a key")
        with InferenceServerClient(server.url.removeprefix("http://")) as client:
            for headers in ({"Authorization": f"Bearer {sent}"}, {"X-API-Key": sent}):
                assert client.get_server_metadata(headers)["name"] == "ninefold"
            with pytest.raises(InferenceServerException, match="Send a key") as raised:
                client.infer("resnet18-seeded", [of_files(FILES)])
            assert raised.value.status() == "401"


BOUNDS = Bounds(224, 64, 9, ImageLimits())


@pytest.mark.parametrize(
    ("datatype", "data", "words"),
    [
        ("BYTES", [""] * 500_000, "needs 1 elements"),
        ("UINT8", [[0], "漢" * 500_000], "whole numbers"),
        ("UINT8", [[[0], "漢" * 500_000]], "whole numbers"),
    ],
    ids=["elements", "letters", "letters within"],
)
def test_what_is_refused_takes_no_memory_before(datatype: str, data: Any, words: str) -> None:
    """A megabyte of JSON must not become a hundred in Python on its way to the error."""
    value = tensor("images" if datatype == "BYTES" else "pixels", datatype, [1] if datatype == "BYTES" else ONE, data)
    tracemalloc.start()
    try:
        with pytest.raises(ApiError, match=words):
            asked(value, memoryview(b""), BOUNDS)
        assert tracemalloc.get_traced_memory()[1] < 500_000
    finally:
        tracemalloc.stop()


def test_a_body_is_let_go_once_its_json_is_parsed() -> None:
    """Else what is accounted once would lie there twice until the answer."""
    sent = tensor("images", "BYTES", [1], [base64.b64encode(bytes(300_000)).decode()])
    text = json.dumps(sent).encode()

    async def main(body: bytearray, *headers: tuple[bytes, bytes]) -> None:
        bodies = Bodies(10**9, 30)
        try:
            request = Request({"type": "http", "headers": list(headers)})
            wanted = await routes._asked(request, bodies, body, BOUNDS)
            assert wanted.reads[0]() == bytes(300_000) and not body
        finally:
            bodies.close()

    asyncio.run(main(bytearray(text)))
    asyncio.run(main(bytearray(text), (b"inference-header-content-length", str(len(text)).encode())))


def test_an_answer_is_made_within_the_request_that_is_counted(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its place and its memory are given back once the answer is there, not before."""
    seen: list[tuple[int, int]] = []
    make = routes.answer

    def watched(*args: Any) -> Response:
        assert server.app is not None
        state = server.app.state
        seen.append((state.predictor._receiving, state.bodies._held))
        return make(*args)

    monkeypatch.setattr(routes, "answer", watched)
    with serve(models_dir, threads=1, model="resnet18-seeded") as server:
        text = json.dumps(tensor("pixels", "UINT8", ONE, size=150_528)).encode()
        headers = {"Inference-Header-Content-Length": str(len(text))}
        url = "/v2/models/resnet18-seeded/infer"
        assert server.client.post(url, content=text + bytes(150_528), headers=headers).status_code == 200
        assert seen == [(1, len(text) + 150_528)]


def test_what_the_headers_tell_is_refused_before_the_body_is_read(models_dir: Path) -> None:
    """A body of any size would be taken in vain: here it would have been too large."""
    with serve(models_dir, threads=1, model="resnet18-seeded", body_memory_mb=0.001, max_body_mb=0.001) as server:
        assert server.app is not None
        server.app.state.bodies._held = 1000  # there is no room for any
        url = "/v2/models/resnet18-seeded/infer"
        answer = server.client.post(url, content=b"{}", headers={"Content-Encoding": "gzip"})
        assert answer.status_code == 415 and "content encoding" in answer.json()["error"]


def test_a_server_as_people_start_it(int8_dir: Path, pixels: Pixels) -> None:
    """`python -m backend`, two versions, and one client in several tasks at once."""
    with process(int8_dir, NINEFOLD_THREADS="2", NINEFOLD_PRECISION="fp32") as server:
        server.wait_ready()
        with InferenceServerClient(server.url.removeprefix("http://"), concurrency=4, network_timeout=60) as client:
            assert client.get_model_metadata(MODEL)["versions"] == ["fp32", "int8"]
            assert client.is_model_ready(MODEL, "int8")
            answers = {}
            for version in ("", "fp32", "int8"):
                inputs = of_pixels(pixels), of_files(FILES)
                found = [client.infer(MODEL, [each], model_version=version) for each in inputs]
                assert [each.get_response()["model_version"] for each in found] == [version or "fp32"] * 2
                answers[version] = logits(found[0])
                np.testing.assert_array_equal(logits(found[1]), answers[version])
            np.testing.assert_array_equal(answers[""], answers["fp32"])
            assert not np.array_equal(answers["fp32"], answers["int8"])
            np.testing.assert_array_equal(answers["fp32"].argmax(1), answers["int8"].argmax(1))

            order = [n % 3 for n in range(64)]
            sixty_four = [of_pixels(pixels[order]), of_files([FILES[n] for n in order])]
            begun = [client.async_infer(MODEL, [tensor]) for tensor in sixty_four]
            for each in begun:
                np.testing.assert_array_equal(logits(each.get_result()), answers["fp32"][order])

            as_they_come = {"sequence_id": 7, "priority": 1, "timeout": 9, "response_compression_algorithm": "gzip"}
            np.testing.assert_array_equal(
                logits(client.infer(MODEL, [of_pixels(pixels)], **as_they_come)), answers["fp32"]
            )
            for call in (client.get_model_config, client.get_inference_statistics, client.load_model):
                with pytest.raises(InferenceServerException, match="nothing at this address") as raised:
                    call(MODEL)
                assert raised.value.status() == "404"
            with pytest.raises(InferenceServerException, match="The file is empty") as raised:
                client.infer(MODEL, [of_files([b""])])
            assert raised.value.status() == "400"
