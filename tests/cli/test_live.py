"""`ninefold live`: videos, cameras and streams in, the right names and boxes out, and an end in words."""

from __future__ import annotations

import csv
import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
import tkinter
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, partialmethod
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps, ImageTk
from typer.testing import CliRunner, Result

from cli.live import film as films
from cli.live import screen
from cli.live.command import _ctrl_c
from cli.live.drawing import colour_of, draw, thickness
from cli.live.film import Film, NoFilm
from cli.live.loading import Parts
from cli.live.looking import Found, Loaded, Looking, Thing
from cli.live.run import run
from cli.live.source import File, Frame, Newest
from cli.live.tally import Tally
from cli.main import app
from cli.server import CannotAnswer
from contract.transform import crop_pixels, rgb_to_pixels, to_pixels
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.boxes import MARGIN, Detection
from inference.classifier import WrongAnswer, softmax
from inference.detectors import Mode
from inference.openvino_classifier import OpenVinoClassifier
from tests import pictures
from tests.detectors import FAKE_DETECTOR, fake_detector
from tests.servers import ROOT

SIZE, FPS = (640, 480), 25
BEAR, CUP = Detection((0.1, 0.2, 0.5, 0.9), "bear", 0, 0.9), Detection((0.6, 0.3, 0.9, 0.6), "cup", 1, 0.8)


def frame_of(name: str) -> np.ndarray:
    """A photograph as a camera's frame: uint8[480,640,3], RGB."""
    with Image.open(pictures.SAMPLES / name) as opened:
        return np.asarray(ImageOps.fit(opened.convert("RGB"), SIZE))


def grey(level: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.full((size[1], size[0], 3), level, np.uint8)


def write_video(path: Path, frames: list[np.ndarray], fps: float = FPS) -> Path:
    height, width, _ = frames[0].shape
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for rgb in frames:
        writer.write(np.ascontiguousarray(rgb[:, :, ::-1]))
    writer.release()
    return path


def read_video(path: Path) -> tuple[list[np.ndarray], float]:
    """Its frames in RGB, and how many a second there are."""
    capture, frames = cv2.VideoCapture(str(path)), []
    fps = capture.get(cv2.CAP_PROP_FPS)
    while (read := capture.read())[0]:
        frames.append(read[1][:, :, ::-1])
    return frames, fps


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six frames of a koala, then six of an espresso."""
    frames = [frame_of("koala.jpg")] * 6 + [frame_of("espresso.jpg")] * 6
    return write_video(tmp_path_factory.mktemp("videos") / "desk.mp4", frames)


@pytest.fixture(scope="module")
def with_detector(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models, and the detector that sees the same two things on every frame."""
    folder = tmp_path_factory.mktemp("models")
    shutil.copytree(models_dir / "efficientnet_lite0", folder / "efficientnet_lite0")
    fake_detector(ArtefactStore(folder), [BEAR, CUP], ["bear", "cup"])
    return folder


@pytest.fixture(autouse=True)
def _without_nohup() -> Iterator[None]:
    """Whoever runs the tests under it, what they start may be hung up."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def ninefold(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["live", *map(str, arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def figures(result: Result) -> dict[str, Any]:
    return dict(json.loads(result.stdout))


def test_a_video_is_named_frame_by_frame_and_written_with_what_was_seen(
    models_dir: Path, video: Path, tmp_path: Path
) -> None:
    target = tmp_path / "out.mp4"
    result = ninefold(video, "-o", target, "--json", "--models-dir", models_dir)
    assert result.exit_code == 0, result.stderr
    found = figures(result)
    assert found["seen"] == {"koala": 6, "espresso": 6}
    assert (found["frames"], found["dropped"], found["stopped"]) == (12, 0, False)
    assert (found["model"], found["precision"], found["detector"]) == ("efficientnet_lite0", "fp32", None)
    assert list(found["stages_ms"]) == ["read", "wait", "pixels", "classify", "draw", "write"]
    assert all(0 <= each["p50"] <= each["p95"] for each in (found["latency_ms"], *found["stages_ms"].values()))
    assert f"Written: {target} (12 frames)" in result.stderr
    frames, fps = read_video(target)
    assert len(frames) == 12 and fps == FPS
    for number, frame in enumerate(frames):
        below_the_labels = np.abs(frame[120:].astype(int) - frame_of(("koala.jpg", "espresso.jpg")[number // 6])[120:])
        assert below_the_labels.mean() < 12  # in this order and with these colours; the rest is two compressions
    assert names(tmp_path) == ["out.mp4"]


def test_people_get_a_table(models_dir: Path, video: Path, tmp_path: Path) -> None:
    result = ninefold(video, "-o", tmp_path / "out.mp4", "--frames", 3, "--filter", "--models-dir", models_dir)
    assert result.exit_code == 0, result.stderr
    assert "efficientnet_lite0 fp32 on CPU" in result.stdout
    for row in ("filter", "classify", "from read to shown", "frames with koala"):
        assert row in result.stdout
    assert len(read_video(tmp_path / "out.mp4")[0]) == 3


def test_a_frames_pixels_are_those_of_the_server(efficientnet: Artefact) -> None:
    classifier = OpenVinoClassifier(efficientnet, 1)
    rgb = frame_of("koala.jpg")
    found = Looking(Loaded(efficientnet, classifier)).find(rgb)
    png = pictures.encode(Image.fromarray(rgb), "PNG")
    expected = softmax(classifier(to_pixels(png, efficientnet.card.transform)[None]))
    np.testing.assert_array_equal(found.probabilities, expected)


def test_boxes_are_drawn_where_the_detector_sees_them(with_detector: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    source = write_video(tmp_path / "grey.mp4", [grey(100)] * 4)
    where = ["--detector", FAKE_DETECTOR, "--models-dir", with_detector]
    result = ninefold(source, "--mode", "detect", "-o", target, "--json", *where)
    assert result.exit_code == 0, result.stderr
    found = figures(result)
    assert found["seen"] == {"bear": 4, "cup": 4}
    assert (found["detector"], found["model"]) == (FAKE_DETECTOR, None)
    frames, _ = read_video(target)
    assert len(frames) == 4
    for each in (BEAR, CUP):
        left, top, right, bottom = (round(edge * (side - 1)) for edge, side in zip(each.box, SIZE * 2, strict=True))
        across, down = (left + right) // 2, (top + bottom) // 2
        for x, y in ((left, down), (right, down), (across, bottom)):
            assert np.abs(frames[-1][y, x].astype(int) - colour_of(each.index)).max() < 70, each.label
        for x, y in ((across, down), (left - 12, down), (right + 12, down), (across, bottom + 12)):
            assert np.abs(frames[-1][y, x].astype(int) - 100).max() < 12, each.label
        label = frames[-1][top - 12 : top - 3, left + 4 : left + 40].reshape(-1, 3)
        assert np.ptp(label.astype(int), axis=0).max() > 60, "there are no letters"


def test_boxes_at_the_edges_stay_on_the_frame() -> None:
    frame = grey(100, (64, 48))
    draw(frame, [Thing((-0.5, -0.1, 1.5, 1.2), "a label far longer than the frame is wide", 3, 1.0, 7)])
    assert frame.shape == (48, 64, 3) and tuple(frame[-1, 32]) == colour_of(7)
    assert thickness(frame) == 2 and len({colour_of(number) for number in range(50)}) == 50


class Crops:
    """A classifier that notes how many images a call has, and calls each by its first pixel."""

    max_batch = 1
    memory_bytes = 1

    def __init__(self, classes: int = 1000) -> None:
        self.calls: list[int] = []
        self.pixels: list[np.ndarray] = []
        self._classes = classes

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        self.calls.append(len(pixels))
        self.pixels.append(pixels)
        logits = np.zeros((len(pixels), self._classes), np.float32)
        for row, image in zip(logits, pixels, strict=True):
            row[int(image[112, 112, 0])] = 20
        return logits


def test_crops_are_one_batch_and_labels_are_steadied_by_tracks(with_detector: Path, efficientnet: Artefact) -> None:
    detector = ArtefactStore(with_detector).get(Variant(FAKE_DETECTOR, "fp32"))
    assert detector is not None
    classifier = Crops()
    looking = Looking(Loaded(efficientnet, classifier), Loaded(detector, OpenVinoClassifier(detector, 1)))
    seen = []
    for level in (10, 10, 10, 30, 10):  # on the fourth frame both look different
        frame = grey(level)
        found = looking.find(frame)
        boxes = np.array([BEAR.box, CUP.box])
        np.testing.assert_array_equal(
            classifier.pixels[-1], crop_pixels(frame, boxes, MARGIN, efficientnet.card.transform)
        )
        seen.append(looking.settle(found))
    assert classifier.calls == [2] * 5
    labels = efficientnet.card.labels
    assert [[thing.label for thing in things] for things in seen] == [[labels[10]] * 2] * 5
    assert seen[3][0].probability == pytest.approx(0.75, abs=0.01)
    numbers = [[thing.track for thing in things] for things in seen]
    assert numbers == [numbers[0]] * 5 and len(set(numbers[0])) == 2


def test_boxes_end_where_the_frame_does_and_an_answer_without_meaning_is_none(
    with_detector: Path, efficientnet: Artefact
) -> None:
    detector = ArtefactStore(with_detector).get(Variant(FAKE_DETECTOR, "fp32"))
    assert detector is not None

    def beyond(pixels: np.ndarray) -> np.ndarray:
        return np.array([[[-0.5, 0.25, 0.5, 1.5, 0, 0.9], [1.1, 0.0, 1.3, 1.0, 0, 0.9]]], np.float32)

    def nothing(pixels: np.ndarray) -> np.ndarray:
        return np.full((len(pixels), 1000), np.nan, np.float32)

    found = Looking(None, Loaded(detector, beyond)).find(grey(9))
    assert [one.box for one in found.boxes] == [(0.0, 0.25, 0.5, 1.0)]
    with pytest.raises(WrongAnswer, match="not finite"):
        Looking(Loaded(efficientnet, nothing)).find(grey(9))


def test_both_modes_together_through_the_command(with_detector: Path, video: Path, tmp_path: Path) -> None:
    result = ninefold(
        video,
        "--mode",
        "detect+classify",
        "-o",
        tmp_path / "o.mp4",
        "--frames",
        2,
        "--json",
        "--detector",
        FAKE_DETECTOR,
        "--models-dir",
        with_detector,
    )
    assert result.exit_code == 0, result.stderr
    found = figures(result)
    assert found["frames"] == 2 and "koala" in found["seen"]
    assert {"detect", "classify", "track"} <= set(found["stages_ms"])


class Slow:
    """A Looking whose first frame takes longest."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self._second = threading.Event()

    def find(self, rgb: np.ndarray) -> Found:
        number = int(rgb[0, 0, 0])
        if number == 1:
            assert self._second.wait(10)
            time.sleep(0.2)  # the second is done, and may not be shown yet
        self._second.set()
        return Found(boxes=[Detection((0, 0, 1, 1), "a thing", number, 1.0)])

    def settle(self, found: Found) -> list[Thing]:
        self.shown.append(found.boxes[0].index)
        return []


class Counting:
    """A sink that is closed after so many frames."""

    stage = "show"

    def __init__(self, most: int = 100) -> None:
        self.numbers: list[int] = []
        self._most = most

    @property
    def closed(self) -> bool:
        return len(self.numbers) >= self._most

    def put(self, frame: Frame) -> None:
        self.numbers.append(frame.number)

    def idle(self) -> None:
        pass


class Scripted:
    """A cv2.VideoCapture of greys, one a level; after those `then` is waited for, and there are `then_levels`."""

    def __init__(
        self, levels: list[int], then: threading.Event | None = None, then_levels: tuple[int, ...] | list[int] = ()
    ) -> None:
        self._levels = list(levels)
        self._then, self._then_levels = then, list(then_levels)
        self.released = False

    def read(self) -> tuple[bool, Any]:
        if self._levels:
            return True, grey(self._levels.pop(0), (8, 8))
        if self._then:
            self._then.wait(10)
        return (True, grey(self._then_levels.pop(0), (8, 8))) if self._then_levels else (False, None)

    def get(self, what: int) -> float:
        return 0.0

    def release(self) -> None:
        self.released = True


def test_frames_looked_at_at_once_are_shown_in_their_order() -> None:
    looking, sink, tally = Slow(), Counting(), Tally()
    run(File(Scripted([1, 2, 3, 4])), looking, sink, tally, threading.Event(), lanes=2)  # type: ignore[arg-type]
    assert looking.shown == sink.numbers == [1, 2, 3, 4]
    assert tally.frames == 4


def test_a_window_that_is_closed_ends_it() -> None:
    sink, tally = Counting(most=2), Tally()
    run(File(Scripted([2] * 50)), Slow(), sink, tally, threading.Event(), lanes=1)  # type: ignore[arg-type]
    assert tally.frames == 2


def test_of_a_camera_the_newest_frame_wins() -> None:
    told, wait = threading.Event(), threading.Event()
    camera = Scripted([10, 20, 30, 40], wait)
    seen = []

    def tell() -> None:
        seen.append(1)
        if len(seen) == 4:
            told.set()

    source = Newest(camera, 30, tell)
    assert told.wait(10)
    frame = source.take()
    assert frame is not None and (frame.number, frame.rgb[0, 0, 0]) == (4, 40)
    assert source.dropped == 3 and source.take() is None and not source.over
    wait.set()
    source.close()
    assert source.over and camera.released


def test_what_a_camera_gave_before_the_run_is_not_counted_as_dropped() -> None:
    wait = threading.Event()
    camera = Scripted([10, 20, 30, 40], wait, then_levels=[50, 60, 70])
    source = Newest(camera, 30)
    while source.dropped < 3:
        time.sleep(0.01)

    class Looks(Slow):
        def find(self, rgb: np.ndarray) -> Found:
            wait.set()
            while not source._ended:  # three come meanwhile
                time.sleep(0.01)
            return Found(boxes=[Detection((0, 0, 1, 1), "a thing", int(rgb[0, 0, 0]), 1.0)])

    looking, tally = Looks(), Tally()
    run(source, looking, Counting(), tally, threading.Event(), lanes=1)  # type: ignore[arg-type]
    source.close()
    assert (looking.shown, tally.dropped) == ([40, 70], 2)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_camera_that_opencv_chokes_on_has_ended() -> None:
    camera = Scripted([])
    camera.read = lambda: (True, None)  # type: ignore[method-assign]  # a frame that is none
    source, sink, tally = Newest(camera), Counting(), Tally()
    source._reader.join(10)
    assert source.over
    run(source, Slow(), sink, tally, threading.Event(), lanes=1)  # type: ignore[arg-type]
    assert tally.frames == 0


class Stream(BaseHTTPRequestHandler):
    """A camera on the network: JPEGs one after the other, `frames` of them, one every `pause` seconds."""

    jpeg = b""
    frames = 0
    pause = 0.01

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        try:
            for _ in range(self.frames):
                head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(self.jpeg)}\r\n\r\n"
                self.wfile.write(head.encode() + self.jpeg + b"\r\n")
                time.sleep(self.pause)
        except OSError:
            pass

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def streaming(jpeg: bytes, frames: int) -> Iterator[str]:
    handler = type("Handler", (Stream,), {"jpeg": jpeg, "frames": frames})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://ann:secret@127.0.0.1:{server.server_port}/camera"
    finally:
        server.shutdown()
        server.server_close()


def test_of_a_stream_the_newest_frames_are_looked_at_and_the_others_counted(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_each_find(monkeypatch, lambda _: time.sleep(0.1))
    jpeg = pictures.encode(Image.fromarray(frame_of("koala.jpg")))
    with streaming(jpeg, 5000) as address:
        result = ninefold(address, "--frames", 8, "--json", "-o", tmp_path / "o.mp4", "--models-dir", models_dir)
    assert result.exit_code == 0, result.stderr
    found = figures(result)
    assert found["frames"] == 8 and found["seen"] == {"koala": 8}
    assert found["dropped"] >= 8  # a hundred a second come, and ten are looked at
    assert "secret" not in result.output and found["source"].startswith("http://127.0.0.1:")
    frames, fps = read_video(tmp_path / "o.mp4")
    assert 0 < len(frames) <= found["seconds"] * fps + 2


def test_a_stream_that_ends_ends_it_in_words(models_dir: Path, tmp_path: Path) -> None:
    with streaming(pictures.encode(Image.fromarray(frame_of("koala.jpg"))), 20) as address:
        result = ninefold(address, "--json", "-o", tmp_path / "o.mp4", "--models-dir", models_dir)
    assert result.exit_code == 0, result.stderr
    found = figures(result)
    assert found["frames"] >= 1 and found["frames"] + found["dropped"] <= 20
    assert "There are no more frames" in result.stderr


class Shelf(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def test_of_a_video_on_a_web_server_every_frame_is_looked_at(models_dir: Path, tmp_path: Path) -> None:
    frames = [frame_of("koala.jpg")] * 9
    write_video(tmp_path / "desk.avi", frames)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Shelf, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/desk.avi"
        result = ninefold(address, "-o", tmp_path / "o.mp4", "--json", "--models-dir", models_dir)
    finally:
        server.shutdown()
        server.server_close()
    assert result.exit_code == 0, result.stderr
    assert (figures(result)["frames"], figures(result)["dropped"]) == (9, 0)


def test_a_cameras_film_lasts_as_long_as_the_camera_did(tmp_path: Path) -> None:
    film = Film(tmp_path / "o.mp4", fps=10, live=True)
    for number, (level, came) in enumerate([(50, 7.0), (100, 7.5), (200, 7.6)]):
        film.put(Frame(number, grey(level, (64, 48)), came, 0))
    assert film.finish() == f"{tmp_path / 'o.mp4'} (7 frames)"
    levels = [round(frame.mean() / 50) for frame in read_video(tmp_path / "o.mp4")[0]]
    assert levels == [1, 1, 1, 1, 1, 2, 4]


def test_a_camera_that_is_faster_than_it_says_makes_no_longer_film(tmp_path: Path) -> None:
    film = Film(tmp_path / "o.mp4", fps=10, live=True)
    for number in range(31):
        film.put(Frame(number, grey(100, (64, 48)), 7 + number / 30, 0))
    assert film.finish() == f"{tmp_path / 'o.mp4'} (11 frames)"


def test_a_long_pause_is_cut_and_what_follows_moves_on(tmp_path: Path) -> None:
    film = Film(tmp_path / "o.mp4", fps=10, live=True)
    for number, came in enumerate((7.0, 15.0, 907.0, 907.1, 907.2)):
        film.put(Frame(number, grey(50 * number, (64, 48)), came, 0))
    film.finish()
    levels = Counter(round(frame.mean() / 50) for frame in read_video(tmp_path / "o.mp4")[0])
    assert levels == {0: 80, 1: 101, 2: 1, 3: 1, 4: 1}


def test_a_stream_may_change_its_size(tmp_path: Path) -> None:
    film = Film(tmp_path / "o.mp4", fps=10, live=False)
    for number, size in enumerate([(64, 48), (128, 96), (64, 48)]):
        film.put(Frame(number, grey(100, size), number / 10, 0))
    film.finish()
    assert [frame.shape for frame in read_video(tmp_path / "o.mp4")[0]] == [(48, 64, 3)] * 3


def test_a_film_is_not_written_over_what_came_into_being_meanwhile(tmp_path: Path) -> None:
    film = Film(tmp_path / "o.mp4", fps=10, live=False)
    film.put(Frame(1, grey(100, (64, 48)), 0, 0))
    (tmp_path / "o.mp4").write_text("another's")
    with pytest.raises(NoFilm, match="has come into being meanwhile") as refused:
        film.finish()
    assert (tmp_path / "o.mp4").read_text() == "another's"
    assert len(read_video(Path(str(refused.value).rpartition(" ")[2]))[0]) == 1


def test_a_film_that_the_disk_has_no_room_for_is_not_left_behind(full_disk: Path) -> None:
    film = Film(full_disk / "o.mp4", fps=10, live=False)
    random = np.random.default_rng(0)
    for number in range(60):
        film.put(Frame(number, random.integers(0, 256, (480, 640, 3), dtype=np.uint8), number / 10, 0))
    with pytest.raises(NoFilm, match="cannot be played, and was removed"):
        film.finish()
    assert names(full_disk) == []


def test_a_codec_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(films, "CODEC", "zzzz")
    film = Film(tmp_path / "o.mp4", fps=10, live=False)
    with pytest.raises(NoFilm, match="writes no zzzz of 64×48 at 10 frames a second"):
        film.put(Frame(1, grey(100, (64, 48)), 0, 0))
    assert film.finish() is None and names(tmp_path) == []
    monkeypatch.setattr(films, "CODEC", "no four letters")
    with pytest.raises(TypeError):
        film.put(Frame(1, grey(100, (64, 48)), 0, 0))
    assert film.finish() is None and names(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_ctrl_c_ends_it_with_a_film_that_can_be_played_and_says_what_was_done(
    models_dir: Path, tmp_path: Path, number: signal.Signals
) -> None:
    source = long_video(tmp_path / "long.mp4")
    process = started(source, tmp_path / "o.mp4", models_dir)
    wait_for(lambda: any(path.stat().st_size > 3000 for path in tmp_path.glob(".o-*.mp4")), process)
    process.send_signal(number)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    found = json.loads(said)
    assert 0 < found["frames"] < 900 and found["stopped"]
    assert len(read_video(tmp_path / "o.mp4")[0]) == found["frames"]
    assert f"Written: {tmp_path / 'o.mp4'}" in errors and f"stopped after {found['frames']} frames" in errors
    assert not list(tmp_path.glob(".o-*"))


def test_the_second_ctrl_c_waits_for_no_frame_and_leaves_a_film_too(models_dir: Path, tmp_path: Path) -> None:
    source = long_video(tmp_path / "long.mp4")
    process = started(source, tmp_path / "o.mp4", models_dir, program=HANGS)
    assert process.stdout is not None and process.stdout.readline() == "hangs\n"
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):  # it waits for the frame that hangs
        process.wait(timeout=1)
    process.send_signal(signal.SIGINT)
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    found = json.loads(said)
    assert found["frames"] > 0 and len(read_video(tmp_path / "o.mp4")[0]) == found["frames"]
    assert "were not waited for" in errors and not list(tmp_path.glob(".o-*"))


HANGS = """
import threading
from cli.live.looking import Looking
from cli.main import app

calls, find = [], Looking.find

def hang(self, rgb):
    calls.append(1)
    if len(calls) == 9:
        print("hangs", flush=True)
    if len(calls) >= 9:
        threading.Event().wait(90)
    return find(self, rgb)

Looking.find = hang
app()
"""


def test_an_engine_that_fails_leaves_a_film_of_what_was_seen(
    models_dir: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(number: int) -> None:
        if number == 5:
            raise RuntimeError("the device has gone")

    before_each_find(monkeypatch, fail)
    result = ninefold(video, "-o", tmp_path / "o.mp4", "--models-dir", models_dir)
    assert result.exit_code == 1 and str(result.exception) == "the device has gone"
    assert len(read_video(tmp_path / "o.mp4")[0]) == 4 and names(tmp_path) == ["o.mp4"]
    assert "(4 frames)" in result.stderr


def test_a_terminal_that_is_closed_ends_it_with_a_film_that_can_be_played(models_dir: Path, tmp_path: Path) -> None:
    source = long_video(tmp_path / "long.mp4")
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command_of(source, tmp_path / "o.mp4", models_dir, program=LEADS_ITS_TERMINAL),
        cwd=ROOT,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    wait_for(lambda: any(path.stat().st_size > 3000 for path in tmp_path.glob(".o-*.mp4")), process)
    os.close(ours)
    process.wait(timeout=60)
    assert 0 < len(read_video(tmp_path / "o.mp4")[0]) < 900
    assert not list(tmp_path.glob(".o-*"))


def test_nohup_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, same in ((signal.SIG_IGN, True), (signal.SIG_DFL, False)):
        before = signal.signal(signal.SIGHUP, wanted)
        try:
            with _ctrl_c(Tally()):
                assert (signal.getsignal(signal.SIGHUP) is wanted) == same
            assert signal.getsignal(signal.SIGHUP) is wanted
        finally:
            signal.signal(signal.SIGHUP, before)


LEADS_ITS_TERMINAL = """
import fcntl, termios
from cli.main import app

fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that its end is told
app()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_after_the_last_frame_does_not_cost_the_film(
    models_dir: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    def ctrl_c(then: Callable[[Any], Any], self: Any) -> Any:
        if signal.getsignal(number) is signal.SIG_DFL:
            pytest.fail("it would be killed")
        signal.raise_signal(number)
        return then(self)

    monkeypatch.setattr(File, "close", partialmethod(partial(ctrl_c, File.close)))
    monkeypatch.setattr(Film, "finish", partialmethod(partial(ctrl_c, Film.finish)))
    result = ninefold(video, "-o", tmp_path / "o.mp4", "--frames", 2, "--models-dir", models_dir)
    assert result.exit_code == 0, result.stderr
    assert len(read_video(tmp_path / "o.mp4")[0]) == 2 and names(tmp_path) == ["o.mp4"]


def before_each_find(monkeypatch: pytest.MonkeyPatch, do: Callable[[int], object]) -> None:
    """Looks at one frame at a time, and does that before, with the frame's number."""
    calls, find = count(1), Looking.find

    def wrapped(self: Looking, rgb: np.ndarray) -> Found:
        do(next(calls))
        return find(self, rgb)

    monkeypatch.setattr(Looking, "find", wrapped)
    monkeypatch.setattr(engines, "lanes", lambda _: 1)


def test_a_video_that_breaks_off_is_said_to(models_dir: Path, tmp_path: Path) -> None:
    whole = write_video(tmp_path / "whole.avi", [frame_of("koala.jpg")] * 12).read_bytes()
    (tmp_path / "cut.avi").write_bytes(whole[: len(whole) * 2 // 3])
    result = ninefold(tmp_path / "cut.avi", "-o", tmp_path / "o.mp4", "--json", "--models-dir", models_dir)
    frames = figures(result)["frames"]
    assert result.exit_code == 1 and 0 < frames < 10
    assert f"broke off: it says it has 12 frames, and {frames} could be read" in result.stderr
    assert len(read_video(tmp_path / "o.mp4")[0]) == frames


@pytest.mark.parametrize(("total", "seconds", "missing"), [(102, 0, 0), (103, 0, 3), (200, 7.96, 0), (None, 0, 0)])
def test_a_container_may_be_a_little_wrong_about_its_frames(total: int | None, seconds: float, missing: int) -> None:
    """A hundred come, 25 a second; or the last at a time that says they were taken at uneven ones."""
    capture = Scripted([1] * 100)
    capture.get = lambda _: 1000 * seconds  # type: ignore[assignment, method-assign]
    source = File(capture, 25, total)
    while source.take():
        assert source.missing == 0
    assert source.missing == missing


def test_who_is_killed_leaves_nothing_under_the_films_name(models_dir: Path, tmp_path: Path) -> None:
    source = long_video(tmp_path / "long.mp4")
    process = started(source, tmp_path / "o.mp4", models_dir)
    wait_for(lambda: any(path.stat().st_size > 3000 for path in tmp_path.glob(".o-*.mp4")), process)
    process.kill()
    process.communicate(timeout=60)
    assert not (tmp_path / "o.mp4").exists()


def long_video(path: Path) -> Path:
    """900 small frames of noise, so that a film of them grows fast."""
    random = np.random.default_rng(0)
    return write_video(path, [random.integers(0, 256, (120, 160, 3), dtype=np.uint8) for _ in range(10)] * 90)


def started(source: Path, target: Path, models_dir: Path, program: str | None = None) -> subprocess.Popen[str]:
    command = command_of(source, target, models_dir, program)
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def command_of(source: Path, target: Path, models_dir: Path, program: str | None = None) -> list[str]:
    python = [sys.executable, *(("-c", program) if program else ("-m", "cli.main"))]
    return [*python, "live", str(source), "-o", str(target), "--json", "--models-dir", str(models_dir)]


def wait_for(true: Callable[[], bool], process: subprocess.Popen[Any]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end
        time.sleep(0.02)


def test_what_cannot_be_looked_at_is_refused_in_words(models_dir: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("these are no frames")
    (tmp_path / "there.mp4").write_text("mine")
    out = ["-o", tmp_path / "o.mp4"]
    refusals: list[tuple[list[object], str]] = [
        ([tmp_path / "nothing.mp4", *out], "there is no"),
        ([tmp_path, *out], "is a folder"),
        ([tmp_path / "notes.mp4", *out], "is no video that OpenCV reads"),
        (["63", *out], "there is no camera 63"),
        (["123456789012", *out], "there is no camera 123456789012"),
        (["http://ann:secret@127.0.0.1:1/x", *out], "http://127.0.0.1:1/x gives no video"),
        ([video, *out, "--mode", "detect"], "ninefold models build rtdetr_r18"),
        ([video, *out, "--mode", "detect", "--detector", "sieve"], "There is no detector 'sieve'"),
        ([video, *out, "--detector", "rtdetr_r18"], "say --mode detect"),
        ([video, *out, "--model", "sieve"], "There is no model 'sieve'"),
        ([video, *out, "--device", "NPU"], "OpenVINO finds no NPU here"),
        ([video, "-o", tmp_path / "no" / "o.mp4"], "there is no folder"),
        ([video, "-o", tmp_path / "o.avi"], "end its name in .mp4"),
        ([video, "-o", tmp_path / "there.mp4"], "say --force"),
    ]
    for words, why in refusals:
        result = ninefold(*words, "--models-dir", models_dir)
        assert result.exit_code == 2 and why in result.stderr.replace("\n", " "), (words, result.stderr)
        assert "secret" not in result.output
    assert names(tmp_path) == ["notes.mp4", "there.mp4"]
    assert (tmp_path / "there.mp4").read_text() == "mine"


def test_what_is_not_installed_is_said_in_words(
    with_detector: Path, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "ximgproc")
    monkeypatch.setitem(sys.modules, "norfair", None)
    both = ["--mode", "detect+classify", "--detector", FAKE_DETECTOR]
    for words, why in ((["--filter"], "OpenCV lacks its contributions"), (both, "names norfair. Without it: --mode")):
        result = ninefold(video, *words, "-o", tmp_path / "o.mp4", "--models-dir", with_detector)
        said = result.stderr.replace("\n", " ")
        assert result.exit_code == 2 and why in said and "requirements/live.txt" in said, result.exception
    assert names(tmp_path) == []


def test_a_detector_is_looked_for_on_the_device_that_computes(
    with_detector: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "why_not", lambda _: None)
    assert Parts(with_detector, Mode.DETECT, None, None, FAKE_DETECTOR, "CPU").detector is not None
    with pytest.raises(CannotAnswer, match="--device CUDA"):  # it has a graph for OpenVINO alone
        Parts(with_detector, Mode.DETECT, None, None, FAKE_DETECTOR, "CUDA")


class ClosedAtOnce(Counting):
    """A window that q closes before anything is in it."""

    def __init__(self, *_: object) -> None:
        super().__init__(most=0)

    def finish(self) -> None:
        pass


def test_a_window_that_is_closed_before_the_first_frame_is_called_that(
    models_dir: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(screen, "Screen", ClosedAtOnce)
    result = ninefold(video, "--models-dir", models_dir)
    assert result.exit_code == 2 and "the window was closed before the first frame" in result.stderr


class Display:
    """Enough of tkinter for a window; from the fourth frame on it is not there, for the call that `fails` names."""

    def __init__(self, fails: str) -> None:
        self._fails = fails
        self.frames = 0
        self.closed = False

    def __call__(self, *_: object, **__: object) -> Display:
        return self

    def photo(self, *_: object, **__: object) -> None:
        self.frames += 1
        self._call("photo")

    def configure(self, **_: object) -> None:
        self._call("configure")

    def update(self) -> None:
        self._call("update")

    def destroy(self) -> None:
        self.closed = True
        self._call("destroy")

    def _call(self, name: str) -> None:
        if self.frames > 3 and name in (self._fails, "destroy"):
            raise tkinter.TclError("can't invoke: application has been destroyed")

    pack = title = protocol = bind = __call__


@pytest.mark.parametrize("fails", ["photo", "configure", "update"])
def test_a_display_that_goes_away_ends_it_in_words(
    models_dir: Path, video: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    display = Display(fails)
    monkeypatch.setattr(tkinter, "Tk", display)
    monkeypatch.setattr(tkinter, "Label", display)
    monkeypatch.setattr(ImageTk, "PhotoImage", display.photo)
    result = ninefold(video, "--json", "--models-dir", models_dir)
    assert isinstance(result.exception, SystemExit) and result.exit_code == 1, result.exception
    assert "the display has gone (can't invoke" in result.stderr and "-o out.mp4" in result.stderr
    assert 3 <= figures(result)["frames"] <= 4


@pytest.mark.parametrize("asked", [None, 2])
def test_a_window_is_closed_once_all_is_shown(
    models_dir: Path, video: Path, monkeypatch: pytest.MonkeyPatch, asked: int | None
) -> None:
    display = Display("nothing")
    monkeypatch.setattr(tkinter, "Tk", display)
    monkeypatch.setattr(tkinter, "Label", display)
    monkeypatch.setattr(ImageTk, "PhotoImage", display.photo)
    result = ninefold(video, "--json", *(["--frames", asked] if asked else []), "--models-dir", models_dir)
    assert (result.exit_code, display.closed) == (0, True), result.stderr
    assert display.frames == figures(result)["frames"] == (asked or 12)


def test_with_force_a_film_is_written_over(models_dir: Path, video: Path, tmp_path: Path) -> None:
    (tmp_path / "there.mp4").write_text("mine")
    result = ninefold(video, "-o", tmp_path / "there.mp4", "--force", "--frames", 2, "--models-dir", models_dir)
    assert result.exit_code == 0 and len(read_video(tmp_path / "there.mp4")[0]) == 2


def test_without_a_display_or_tkinter_it_says_what_to_do(
    models_dir: Path, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_display() -> None:
        raise tkinter.TclError("no $DISPLAY environment variable")

    monkeypatch.setattr(tkinter, "Tk", no_display)
    result = ninefold(video, "--models-dir", models_dir)
    assert result.exit_code == 2 and "there is no display here" in result.stderr and "-o out.mp4" in result.stderr
    monkeypatch.setitem(sys.modules, "tkinter", None)
    result = ninefold(video, "--models-dir", models_dir)
    assert result.exit_code == 2 and "has no tkinter" in result.stderr and "-o out.mp4" in result.stderr


@pytest.mark.samples
def test_photographs_get_the_names_that_the_classifier_gives_them(
    models_dir: Path, efficientnet: Artefact, samples: Path, tmp_path: Path
) -> None:
    with (samples / "labels.csv").open(encoding="utf-8") as file:
        rows = [(row["file"], int(row["index"])) for row in csv.DictReader(file)][:12]
    frames = []
    for name, _ in rows:
        with Image.open(samples / name) as opened:
            frames.append(np.asarray(ImageOps.fit(opened.convert("RGB"), SIZE)))
    source = write_video(tmp_path / "photographs.mp4", frames)
    result = ninefold(source, "-o", tmp_path / "o.mp4", "--json", "--models-dir", models_dir)
    assert result.exit_code == 0, result.stderr
    classifier, spec = OpenVinoClassifier(efficientnet, 1), efficientnet.card.transform
    best = [
        int(classifier(rgb_to_pixels(np.ascontiguousarray(each), spec)[None]).argmax())
        for each in read_video(source)[0]
    ]
    expected = Counter(efficientnet.card.labels[index] for index in best)
    assert figures(result)["seen"] == dict(expected.most_common(5))
    assert sum(index == row[1] for index, row in zip(best, rows, strict=True)) >= 6
