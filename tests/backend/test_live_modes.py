"""/v1/live with a detector, with tracks, with the filter: what is answered, and what is said where one is missing."""

from __future__ import annotations

import asyncio
import io
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from structlog.testing import capture_logs
from websockets.exceptions import InvalidStatus

from backend.decoding import _FILTER_LAYERS, Decoder
from backend.live import looking, shared
from backend.live.detector import LaneDetector
from backend.live.sessions import Sessions
from backend.metrics import Metrics
from backend.predictor import Predictor
from backend.settings import Settings
from contract.transform import BadImage, ImageLimits, Pixels, crop_pixels, decode_rgb, rgb_to_pixels
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.boxes import LEAST_SCORE, MARGIN, MOST_BOXES, Detection
from inference.card import Expected
from inference.classifier import WrongAnswer, softmax, top_k
from inference.filters import GuidedFilter, NoFilter
from inference.openvino_classifier import OpenVinoClassifier
from inference.scheduler import Overloaded, Priority
from inference.tracks import Tracks
from tests import pictures
from tests.cameras import answer, end_of, opened, refusal, wait_for
from tests.detectors import FAKE_DETECTOR, fake_detector
from tests.servers import ROOT, Service, serve

KOALA, ESPRESSO = pictures.sample("koala.jpg"), pictures.sample("espresso.jpg")
LABELS = ("left", "right", "doubtful")
LEFT, RIGHT = Detection((0.0, 0.0, 0.5, 1.0), "left", 0, 0.9), Detection((0.5, 0.0, 1.2, 1.0), "right", 1, 0.8)
DOUBTFUL = Detection((0.2, 0.2, 0.4, 0.4), "doubtful", 2, LEAST_SCORE - 0.1)
BOTH = "detect%2Bclassify"


def side_by_side() -> bytes:
    both, file = Image.new("RGB", (800, 400)), io.BytesIO()
    for left, data in ((0, KOALA), (400, ESPRESSO)):
        both.paste(Image.open(io.BytesIO(data)).convert("RGB").resize((400, 400)), (left, 0))
    both.save(file, "JPEG", quality=95)
    return file.getvalue()


@pytest.fixture(scope="module")
def own_dir(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with efficientnet_lite0 that detectors may be put into."""
    folder = tmp_path_factory.mktemp("models")
    (folder / FAKE_DETECTOR).mkdir()
    (folder / "efficientnet_lite0").symlink_to(models_dir / "efficientnet_lite0")
    return folder


@pytest.fixture(scope="module", autouse=True)
def _asked_for() -> Iterator[None]:
    """Servers here look with the fake, as soon as it is there."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("NINEFOLD_DETECTOR", FAKE_DETECTOR)
        yield


@pytest.fixture(scope="module")
def serving(own_dir: Path) -> Iterator[Service]:
    with serve(own_dir, threads=2, live_megapixels=1) as service:
        yield service


@pytest.fixture
def detectors(own_dir: Path) -> ArtefactStore:
    """Where the server finds its detector: at first one that sees a thing in each half of every frame."""
    store = ArtefactStore(own_dir)
    fake_detector(store, (LEFT, RIGHT, DOUBTFUL), LABELS)
    return store


def ask(service: Service, query: str, *frames: bytes) -> list[dict[str, Any]]:
    """The answers to these frames, one after the other."""
    answers = []
    with opened(service, query) as camera:
        for frame in frames:
            camera.send(frame)
            answers.append(answer(camera))
    return answers


def refused_once(service: Service, query: str) -> tuple[int, str, str]:
    """Status, code and message of an attempt; a GET need not say the same."""
    with pytest.raises(InvalidStatus) as refused, opened(service, query):
        pass
    error = json.loads(refused.value.response.body)["error"]
    return refused.value.response.status_code, error["code"], error["message"]


# -- what is answered --------------------------------------------------------------------------------------------


def test_boxes_are_the_detectors_and_keep_within_the_frame(serving: Service, detectors: ArtefactStore) -> None:
    (got,) = ask(serving, "?mode=detect", side_by_side())
    assert set(got) == {"frame", "boxes", "detector", "latency_ms", "dropped"}
    assert got["detector"] == FAKE_DETECTOR
    assert got["boxes"] == [
        {"box": [0, 0, 0.5, 1], "label": "left", "index": 0, "probability": pytest.approx(0.9)},
        {"box": [0.5, 0, 1, 1], "label": "right", "index": 1, "probability": pytest.approx(0.8)},
    ]


def test_things_are_called_by_the_classifier_and_keep_their_numbers(
    serving: Service, detectors: ArtefactStore, efficientnet: Artefact
) -> None:
    frame, other = side_by_side(), pictures.jpeg(size=(640, 480))
    first, second, third = (got["boxes"] for got in ask(serving, f"?mode={BOTH}", frame, frame, other))
    labels = efficientnet.card.labels
    assert [each["label"] for each in first] == ["koala", "espresso"] and first == second
    assert all(labels[each["index"]] == each["label"] for each in first)
    assert [each["box"] for each in first] == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    numbers = [[each["track"] for each in boxes] for boxes in (first, second, third)]
    assert numbers[0] == numbers[1] == numbers[2] and len(set(numbers[0])) == 2
    # What it is called is the mean over its track: twice the koala, and once whatever the third frame has there.
    assert third[0]["label"] == "koala" and third[0]["probability"] < first[0]["probability"]


def test_of_many_boxes_the_surest_are_shown_and_none_is_an_answer_too(
    serving: Service, detectors: ArtefactStore
) -> None:
    flat = Detection((0.4, 0.1, 0.4, 0.9), "left", 0, 0.9)
    outside = Detection((1.1, 0.0, 1.3, 1.0), "left", 0, 0.9)
    for found, count in (((LEFT, flat, outside, *(RIGHT,) * 40), MOST_BOXES), ((DOUBTFUL,), 0)):
        fake_detector(detectors, found, LABELS, rows=50)
        for mode in ("detect", BOTH):
            (got,) = ask(serving, f"?mode={mode}", side_by_side())
            assert len(got["boxes"]) == count
            assert all(right > left for left, _, right, _ in (each["box"] for each in got["boxes"]))


def test_filtered_frames_are_filtered_in_their_own_size_and_in_every_mode(
    serving: Service, detectors: ArtefactStore, efficientnet: Artefact
) -> None:
    frame = side_by_side()
    card, classifier = efficientnet.card, OpenVinoClassifier(efficientnet, 1)
    filtered = GuidedFilter()(decode_rgb(frame))
    (got,) = ask(serving, "?filter=1&top_k=1", frame)
    (expected,) = top_k(classifier(rgb_to_pixels(filtered, card.transform)[None])[0], card.labels, 1)
    assert got["labels"] == [
        {"label": expected.label, "index": expected.index, "probability": pytest.approx(expected.probability, abs=1e-5)}
    ]
    boxes = np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    for query, rgb in (("", decode_rgb(frame)), ("&filter=1", filtered)):
        (seen,) = ask(serving, f"?mode={BOTH}{query}", frame)
        best = softmax(classifier(crop_pixels(rgb, boxes, MARGIN, card.transform))).max(axis=1)
        assert [each["probability"] for each in seen["boxes"]] == pytest.approx(best.tolist(), abs=1e-5), query


def test_what_sessions_share_is_loaded_once(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    try_out = Predictor.try_out

    def load_filter(*, device: str) -> Any:
        loaded.append(device)
        time.sleep(0.2)
        return GuidedFilter()

    async def counted(predictor: Predictor, variant: Variant) -> Any:
        loaded.append(variant.model)
        await asyncio.sleep(0.2)
        return await try_out(predictor, variant)

    monkeypatch.setattr(engines, "load_filter", load_filter)
    monkeypatch.setattr(Predictor, "try_out", counted)
    with serve(own_dir, threads=2) as server, ThreadPoolExecutor(3) as cameras:
        loaded.clear()
        seen = list(cameras.map(lambda _: ask(server, "?mode=detect&filter=1", KOALA), range(3)))
        assert all(len(got["boxes"]) == 2 for (got,) in seen)
    assert sorted(loaded) == ["CPU", FAKE_DETECTOR]


def test_what_takes_its_time_to_load_is_waited_for_by_the_first_frame(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looking, "OPEN_SECONDS", 0.1)
    go_on, full = threading.Event(), [Overloaded(1)]
    try_out = Predictor.try_out

    async def slow(predictor: Predictor, variant: Variant) -> Any:
        await asyncio.to_thread(go_on.wait, 30)
        if full:
            raise full.pop()
        return await try_out(predictor, variant)

    with serve(own_dir, threads=1) as server:
        monkeypatch.setattr(Predictor, "try_out", slow)
        with opened(server, "?mode=detect") as camera:
            camera.send(KOALA)
            go_on.set()
            code, reason = end_of(camera)
            assert code == 1011 and reason.startswith("overloaded: ")
        go_on.clear()
        with opened(server, "?mode=detect") as camera:
            camera.send(KOALA)
            go_on.set()
            assert len(answer(camera)["boxes"]) == 2
        go_on.clear()
        (own_dir / FAKE_DETECTOR / "fp32" / "model.xml").write_text("damaged")
        fresh = replace(ArtefactStore(own_dir).of(FAKE_DETECTOR)[0].card, built_at="today")
        fresh.write(own_dir / FAKE_DETECTOR / "fp32")
        with opened(server, "?mode=detect") as camera:
            camera.send(KOALA)
            go_on.set()
            code, reason = end_of(camera)
            assert code == 1011 and reason.startswith("model_missing: ")


def test_things_that_cannot_be_called_anything_are_an_error_of_the_frame(
    serving: Service, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(variant: Variant, pixels: Pixels, priority: Priority) -> Any:
        return np.full((len(pixels), 1000), np.nan, np.float32)

    assert serving.app
    with opened(serving, f"?mode={BOTH}") as camera:
        with monkeypatch.context() as patched:
            patched.setattr(serving.app.state.predictor.scheduler, "run", run)
            camera.send(KOALA)
            assert answer(camera)["error"]["code"] == "no_answer"
        camera.send(KOALA)
        assert len(answer(camera)["boxes"]) == 2


def test_frames_have_limits_of_their_own(serving: Service, detectors: ArtefactStore) -> None:
    large, long = pictures.jpeg(size=(1200, 1000)), pictures.encode(Image.new("RGB", (1, 16_385)), "PNG")
    assert serving.predict(("large.jpg", large), ("long.png", long))[1]["predictions"]
    for query in ("", "?filter=1", "?mode=detect", f"?mode={BOTH}"):
        *refused, got = ask(serving, query, large, long, KOALA)
        words = ("1 megapixels is the most", "16384 pixels a side is the most")
        for error, said in zip((each["error"] for each in refused), words, strict=True):
            assert error["code"] == "too_many_pixels" and said in error["message"], query
        assert "error" not in got


def test_filtered_frames_have_a_smaller_one(
    serving: Service, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = pictures.jpeg(size=(100, 100)), pictures.jpeg(size=(101, 100))
    monkeypatch.setattr("backend.predictor.MOST_FILTERED", 10_000)
    for query in ("?filter=1", "?mode=detect&filter=1"):
        refused, got = ask(serving, query, large, small)
        assert refused["error"]["code"] == "too_many_pixels" and "error" not in got
        assert refused["error"]["message"].startswith("The filter takes frames up to ")
    assert "error" not in ask(serving, "", large)[0]


def test_frames_take_threads_and_a_place_of_their_own(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[str] = []
    update = Tracks.update

    def noted(name: str) -> None:
        threads.append(name.rpartition("_")[0])

    def cropped(*given: Any) -> Any:
        noted(threading.current_thread().name)
        return crop_pixels(*given)

    def updated(tracks: Tracks, *given: Any) -> Any:
        noted(threading.current_thread().name)
        return update(tracks, *given)

    monkeypatch.setattr(looking, "crop_pixels", cropped)
    monkeypatch.setattr(Tracks, "update", updated)
    with serve(own_dir, threads=1) as server:
        assert server.app
        scheduler, looks = server.app.state.predictor.scheduler, server.app.state.looks
        reserve, places = scheduler.reserve, []

        def reserved(images: int, priority: Priority) -> Any:
            places.append((images, priority))
            return reserve(images, priority)

        with opened(server, f"?mode={BOTH}") as camera:
            monkeypatch.setattr(scheduler, "reserve", reserved)
            camera.send(KOALA)
            assert len(answer(camera)["boxes"]) == 2
    assert threads == ["live", "live"] and places == [(1, Priority.LIVE)]
    with pytest.raises(RuntimeError, match="shutdown"):
        looks.threads.submit(print)


def test_slow_detection_leaves_a_lane_to_pictures(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work, go_on = list[int](), threading.Event()

    class Slow:
        max_batch = memory_bytes = 1

        def __call__(self, given: Pixels) -> Any:
            at_work.append(1)
            assert go_on.wait(30)
            return np.zeros((1, 2, 6), np.float32)

    with serve(own_dir, threads=2) as server:
        assert server.app
        scheduler = server.app.state.predictor.scheduler
        ask(server, "?mode=detect", KOALA)  # with it, the detector is loaded
        (detector,) = (variant for variant in scheduler.loaded if variant.model == FAKE_DETECTOR)
        scheduler._loaded[detector] = Slow()
        with ExitStack() as open_ones:
            sessions = [open_ones.enter_context(opened(server, "?mode=detect")) for _ in range(4)]
            open_ones.callback(go_on.set)
            for camera in sessions:
                camera.send(KOALA)
            wait_for(lambda: scheduler.waiting(Priority.LIVE) == 4 and bool(at_work))
            for _ in range(3):
                assert server.predict(("koala.jpg", KOALA))[0]["status"] == "ok"
            assert len(at_work) == 1
            go_on.set()
            assert all(answer(camera)["boxes"] == [] for camera in sessions)


# -- what is missing ---------------------------------------------------------------------------------------------


def test_a_page_asks_once_what_may_be_chosen(
    models_dir: Path, own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = "https://page.example"
    modes = ("classify", "detect", "detect+classify")
    with serve(own_dir, threads=1, page_origins=origin) as server:
        assert server.app
        told = server.client.get("/v1/live/modes", headers={"Origin": origin})
        assert told.status_code == 200 and told.json() == {"modes": dict.fromkeys(modes), "filter": None}
        assert told.headers["access-control-allow-origin"] == origin
        elsewhere = server.client.get("/v1/live/modes", headers={"Origin": "https://evil.example"})
        assert (elsewhere.status_code, elsewhere.json()["error"]["code"]) == (403, "origin_not_allowed")
        assert [variant.model for variant in server.app.state.predictor.scheduler.loaded] == ["efficientnet_lite0"]
        with capture_logs() as lines:
            for _ in range(3):
                server.client.get("/v1/live/modes")
        assert not [line for line in lines if line.get("path") == "/v1/live/modes"]
        server.app.state.draining = True
        assert server.client.get("/v1/live/modes").json()["error"]["code"] == "draining"
        server.app.state.draining = False
    monkeypatch.setitem(sys.modules, "cv2", None)
    with serve(models_dir, threads=1, detector="rtdetr_r18") as server:
        told = server.client.get("/v1/live/modes").json()
        assert told["modes"]["classify"] is None
        for query, found in (
            *((f"mode={mode.replace('+', '%2B')}", told["modes"][mode]) for mode in modes[1:]),
            ("filter=1", told["filter"]),
        ):  # in the words of the address that the WebSocket has
            assert found == server.client.get(f"/v1/live?{query}").json()["error"], query


def test_a_detector_whose_folder_goes_away_takes_no_other_mode_along(
    own_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_dir / "mine").mkdir()
    monkeypatch.setenv("NINEFOLD_DETECTOR", "mine")
    with serve(own_dir, threads=1) as server:
        (own_dir / "mine").rmdir()
        told = server.client.get("/v1/live/modes").json()["modes"]
        assert told["classify"] is None and "no detector 'mine'" in told["detect"]["message"]


def test_asking_loads_nothing(own_dir: Path, detectors: ArtefactStore) -> None:
    with serve(own_dir, threads=1) as server:
        assert server.app
        for query in ("?mode=detect", f"?mode={BOTH}", f"?mode={BOTH}&filter=1"):
            assert server.client.get(f"/v1/live{query}").status_code == 426
        scheduler = server.app.state.predictor.scheduler
        assert [variant.model for variant in scheduler.loaded] == ["efficientnet_lite0"]
        ask(server, "?mode=detect", KOALA)
        assert {variant.model for variant in scheduler.loaded} == {"efficientnet_lite0", FAKE_DETECTOR}
    heavy = "{'cv2', 'norfair', 'scipy', 'torch', 'transformers'}"
    code = f"import sys, backend.app; found = {heavy} & set(sys.modules); sys.exit(str(found) if found else 0)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_without_a_detector_the_words_are_those_of_the_choice(models_dir: Path) -> None:
    with serve(models_dir, threads=1, detector=None) as server:
        for mode in ("detect", BOTH):
            status, code, message = refusal(server, f"?mode={mode}")
            assert (status, code) == (409, "model_missing") and message == (
                "rtdetr_r18, which finds the things on a frame, is not here: it has not been built. "
                "The command `ninefold models build rtdetr_r18` adds it. What a frame shows can be told without one."
            )
    with serve(models_dir, threads=1, detector="detr_resnet50") as server:
        assert "ninefold models build detr_resnet50" in refusal(server, "?mode=detect")[2]
    with pytest.raises(ValidationError, match="There is no detector 'nothing'"):
        Settings(models_dir=models_dir, detector="nothing")


def test_a_detector_may_be_added_damaged_and_mended_while_the_server_runs(
    serving: Service, detectors: ArtefactStore, own_dir: Path
) -> None:
    network = own_dir / FAKE_DETECTOR / "fp32" / "model.xml"
    fake_detector(detectors, (LEFT,), LABELS)
    network.write_bytes(network.read_bytes() + b" ")
    for _ in range(2):
        status, code, message = refusal(serving, "?mode=detect")  # by GET, too, now that it is known
        assert (status, code) == (409, "model_missing") and "is not the file that its card describes" in message
        assert "ninefold models build" in message
    fake_detector(detectors, (RIGHT,), LABELS)
    assert serving.client.get("/v1/live?mode=detect").status_code == 426
    (got,) = ask(serving, "?mode=detect", KOALA)
    assert [each["label"] for each in got["boxes"]] == ["right"]
    (network.parent / "card.json").write_text("{}")
    status, code, message = refusal(serving, "?mode=detect")
    assert (status, code) == (409, "model_missing") and "cannot be read" in message


def test_a_detector_whose_files_are_put_back_is_tried_again(
    serving: Service, detectors: ArtefactStore, own_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = own_dir / FAKE_DETECTOR / "fp32" / "model.xml"
    fake_detector(detectors, (LEFT,), LABELS, rows=3)
    good = network.read_bytes()
    network.write_bytes(good + b" ")
    assert refusal(serving, "?mode=detect")[:2] == (409, "model_missing")
    network.write_bytes(good)
    assert refusal(serving, "?mode=detect")[:2] == (409, "model_missing")  # for a minute
    later = time.monotonic() + shared.BAD_SECONDS
    monkeypatch.setattr(shared, "monotonic", lambda: later)
    assert serving.client.get("/v1/live?mode=detect").status_code == 426
    assert len(ask(serving, "?mode=detect", KOALA)[0]["boxes"]) == 1


@pytest.mark.parametrize("error", [OSError(24, "Too many open files"), RuntimeError("the driver said no")])
def test_what_says_nothing_against_a_detector_is_soon_forgotten(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fails(predictor: Predictor, variant: Variant) -> Any:
        raise error

    with serve(own_dir, threads=1) as server:
        with monkeypatch.context() as patched:
            patched.setattr(Predictor, "try_out", fails)
            status, code, message = refusal(server, "?mode=detect")  # by GET, too, for a moment
        assert (status, code) == (409, "model_missing") and str(error) in message
        a_moment_later(monkeypatch)
        assert len(ask(server, "?mode=detect", KOALA)[0]["boxes"]) == 2


def test_a_detector_that_misjudges_its_golden_image_is_refused(serving: Service, detectors: ArtefactStore) -> None:
    artefact = fake_detector(detectors, (LEFT,), LABELS)
    expected = (Expected("left", 0, 0.9, (0.0, 0.5, 0.5, 1.0)),)
    replace(artefact.card, golden=replace(artefact.card.golden, predictions=expected)).write(artefact.folder)
    status, code, message = refusal(serving, "?mode=detect")
    assert (status, code) == (409, "model_missing") and "on its golden image" in message
    assert f"ninefold models build {FAKE_DETECTOR} --force" in message


@pytest.mark.parametrize("fails", ["on its golden image", "this time"])
def test_a_good_detector_that_takes_a_bad_ones_place_answers_itself(
    own_dir: Path, detectors: ArtefactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    """The same that answered before, whose files were put back."""
    good, at_its_place = tmp_path / "good", own_dir / FAKE_DETECTOR / "fp32"
    fake_detector(detectors, (RIGHT,), LABELS)
    shutil.copytree(at_its_place, good)
    with serve(own_dir, threads=1) as server, monkeypatch.context() as patched:
        assert ask(server, "?mode=detect", KOALA)[0]["boxes"][0]["label"] == "right"
        bad = fake_detector(detectors, (LEFT,), LABELS)
        if fails == "this time":
            patched.setattr(Predictor, "try_out", fails_once_loaded)
        else:
            expected = (Expected("left", 0, 0.9, (0.0, 0.5, 0.5, 1.0)),)
            replace(bad.card, golden=replace(bad.card.golden, predictions=expected)).write(bad.folder)
        assert fails in refusal(server, "?mode=detect")[2]
        patched.undo()
        shutil.rmtree(at_its_place)
        shutil.copytree(good, at_its_place)
        assert ask(server, "?mode=detect", KOALA)[0]["boxes"][0]["label"] == "right"


TRY_OUT = Predictor.try_out


async def fails_once_loaded(predictor: Predictor, variant: Variant) -> Any:
    await TRY_OUT(predictor, variant)
    raise RuntimeError("the driver said no")


def a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """For what could not be loaded."""
    later = time.monotonic() + shared.PASSING_SECONDS
    monkeypatch.setattr(shared, "monotonic", lambda: later)


def test_without_the_tracker_or_the_filter_it_is_said_in_words(
    serving: Service, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "norfair", None)
    status, code, message = refusal(serving, f"?mode={BOTH}")
    assert (status, code) == (409, "tracker_missing") and "norfair is not installed" in message
    assert len(ask(serving, "?mode=detect", KOALA)[0]["boxes"]) == 2
    monkeypatch.setitem(sys.modules, "cv2", None)
    with serve(detectors.root, threads=1) as server:
        for mode in ("classify", "detect"):
            status, code, message = refusal(server, f"?mode={mode}&filter=1")
            assert (status, code) == (409, "filter_missing") and "OpenCV is not installed" in message
            assert "requirements/live.txt" in message
        assert "labels" in ask(server, "", KOALA)[0]


@pytest.mark.parametrize("error", [NoFilter("the device is too old"), ImportError("libGL.so.1: no such file")])
def test_a_filter_that_cannot_be_loaded_is_said_in_words(
    own_dir: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def load_filter(*, device: str) -> Any:
        def fails(pixels: Pixels) -> Pixels:
            raise error

        return fails

    monkeypatch.setattr(engines, "load_filter", load_filter)
    with serve(own_dir, threads=1) as server:
        status, code, message = refusal(server, "?filter=1")  # the second time, by GET, it is known
        assert (status, code) == (409, "filter_missing") and str(error) in message


@pytest.mark.parametrize("error", [RuntimeError("no stream"), OSError(24, "Too many open files"), cv2.error("no")])
def test_a_filter_and_a_tracker_that_cannot_be_loaded_this_time_are_tried_again(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fails(**_: Any) -> Any:
        raise error

    missing = {"?filter=1": "filter_missing", f"?mode={BOTH}": "tracker_missing"}
    with serve(own_dir, threads=1) as server:
        with monkeypatch.context() as patched:
            patched.setattr(engines, "load_filter", fails)
            patched.setattr(shared, "Tracks", fails)
            for query, code in missing.items():
                status, said, message = refusal(server, query)  # by GET, too, for a moment
                assert (status, said) == (409, code) and str(error) in message
        a_moment_later(monkeypatch)
        for query in missing:
            assert server.client.get(f"/v1/live{query}").status_code == 426
            assert "error" not in ask(server, query, KOALA)[0]


def test_who_is_let_in_while_the_server_stops_is_closed_in_words(
    own_dir: Path, detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    loading, go_on = threading.Event(), threading.Event()
    try_out = Predictor.try_out

    async def slow(predictor: Predictor, variant: Variant) -> Any:
        if variant.model == FAKE_DETECTOR:
            loading.set()
            await asyncio.to_thread(go_on.wait, 30)
        return await try_out(predictor, variant)

    monkeypatch.setattr(Predictor, "try_out", slow)
    ends: list[Any] = []

    def late(server: Service) -> None:
        with opened(server, "?mode=detect") as camera:
            ends.append(end_of(camera))

    with serve(own_dir, threads=1) as server:
        assert server.app
        camera = threading.Thread(target=late, args=(server,))
        camera.start()
        assert loading.wait(30)
        sessions: Sessions = server.app.state.live
        asyncio.run(sessions.drain())
        go_on.set()
        camera.join(30)
    assert ends and ends[0][0] == 1012 and ends[0][1].startswith("draining: ")


# -- the detector in the scheduler -------------------------------------------------------------------------------


class Red:
    """A detector that finds the columns that are red, and has no answer where nothing is."""

    max_batch = 1
    memory_bytes = 1

    def __call__(self, pixels: Any) -> Any:
        red = np.flatnonzero(pixels[0, 0, :, 0] > 128)
        box = (red[0], 0, red[-1] + 1, pixels.shape[2]) if len(red) else (np.nan,) * 4
        return np.array([[[*(edge / pixels.shape[2] for edge in box), 0, 0.9], [0] * 6]], np.float32)


def test_a_frame_is_decoded_once_and_one_without_an_answer_says_so(
    detectors: ArtefactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[bytes] = []

    def decode(frame: bytes) -> Any:
        decoded.append(frame)
        rgb = np.zeros((6, 8, 3), np.uint8)
        rgb[:, 2:4] = 255 if frame else 0
        return rgb

    async def test() -> Any:
        monkeypatch.setattr(engines, "load", lambda *_, **__: Red())
        predictor = Predictor(Settings(models_dir=detectors.root, threads=1), detectors, Metrics())
        detector = LaneDetector(predictor, Variant(FAKE_DETECTOR, "fp32"), decode)
        found = await detector.find(b"red")
        with pytest.raises(WrongAnswer):
            await detector.find(b"")
        await predictor.close()
        return found

    frame, (found,) = asyncio.run(test())
    assert frame.shape == (6, 8, 3) and decoded == [b"red", b""]
    assert (found.box, found.label) == (pytest.approx((0.25, 0, 0.5, 1), abs=0.02), "left")


@pytest.mark.parametrize("what", ["upright", "denoised"])
def test_frames_wait_for_room_in_memory_as_pictures_do(what: str) -> None:
    decoder, done = Decoder(1_000_000, ImageLimits()), threading.Event()

    def work() -> None:
        if what == "upright":
            decoder.upright(KOALA, ImageLimits())
        else:
            decoder.denoised(np.zeros((1, 1, 3), np.uint8), lambda pixels: pixels)
        done.set()

    with decoder._gate.admit(1_000_000):
        threading.Thread(target=work, daemon=True).start()
        assert not done.wait(0.5)
    assert done.wait(30)
    with pytest.raises(BadImage, match="megapixels"):
        decoder.upright(KOALA, ImageLimits(max_pixels=100))


def test_frames_that_are_filtered_together_fit() -> None:
    inside, most, lock = [0], [0], threading.Lock()

    def denoise(pixels: Pixels) -> Pixels:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
        both.wait(0.3) if inside[0] < 2 else both.set()
        with lock:
            inside[0] -= 1
        return pixels

    for capacity, together in ((2 * _FILTER_LAYERS - 1, 1), (2 * _FILTER_LAYERS, 2)):
        both = threading.Event()
        most[0] = 0
        decoder = Decoder(capacity * 100, ImageLimits())
        frame = np.zeros((10, 10, 3), np.uint8)
        threads = [threading.Thread(target=decoder.denoised, args=(frame, denoise)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert most[0] == together


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells a process its peak memory")
def test_the_filter_takes_no_more_room_than_is_kept_for_it() -> None:
    code = (
        "import re, numpy as np; from pathlib import Path; from inference.filters import GuidedFilter;"
        "kept = lambda what: 1024 * int(re.search(what + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1]);"
        "frame = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), dtype=np.uint8);"
        "denoise = GuidedFilter(); denoise(frame[:8, :8]); before = kept('VmRSS'); denoise(frame);"
        "print((kept('VmHWM') - before) / 4 / 2000**2)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert 4 < float(run.stdout) <= _FILTER_LAYERS
