"""What one picture costs the server besides decoding and inference, counted and not timed: copies, hops, calls, lines.

A change that makes the path longer fails here, on a machine however busy. The seconds are bench's.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
import tracemalloc
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
from fastapi import FastAPI
from PIL import Image
from structlog.testing import capture_logs

from backend import predictor
from backend.api.uploads import Upload
from backend.app import create_app
from backend.settings import Settings
from inference import openvino_classifier
from inference.artefacts import Artefact
from inference.classifier import golden_pixels
from inference.openvino_classifier import OpenVinoClassifier
from inference.scheduler import Priority
from tests import pictures
from tests.asgi import ask

PHOTOGRAPH = pictures.jpeg((800, 600)).ljust(120_000, b"\0")
BODY = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a.jpg"\r\n\r\n' + PHOTOGRAPH + b"\r\n--x--\r\n"
PIECE = 65_536
MOST_CALLS = 560
"""Python functions that the event loop's thread may call for one request; seen were 504, every time."""


def with_app(models_dir: Path, test: Callable[[FastAPI], Awaitable[None]]) -> None:
    """Runs the test beside a ready app, in its event loop, after one request that warmed it up."""

    async def main() -> None:
        predictor.FOLLOW_SECONDS = 3600  # else it might look for another precision in the middle
        app = create_app(Settings(models_dir=models_dir, model="resnet18-seeded", threads=1))
        async with app.router.lifespan_context(app), asyncio.timeout(60):
            while not app.state.predictor.ready:
                await asyncio.sleep(0.01)
            assert await ask(app, BODY) == 200
            await test(app)

    before = predictor.FOLLOW_SECONDS
    try:
        asyncio.run(main())
    finally:
        predictor.FOLLOW_SECONDS = before


def test_a_picture_is_opened_once_and_changes_threads_once(models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = Counter[str]()

    def count(owner: Any, name: str) -> None:
        original = getattr(owner, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, call)

    async def test(app: FastAPI) -> None:
        count(Image, "open")
        count(asyncio.get_running_loop(), "run_in_executor")
        count(asyncio.get_running_loop(), "call_soon_threadsafe")
        assert await ask(app, BODY) == 200
        assert counts == {"open": 1, "call_soon_threadsafe": 1}
        monkeypatch.undo()

    with_app(models_dir, test)


def test_the_network_reads_the_pixels_where_they_lie(seeded: Artefact, monkeypatch: pytest.MonkeyPatch) -> None:
    classifier, pixels, shared = OpenVinoClassifier(seeded, threads=1), golden_pixels(seeded), []

    real = ov.Tensor

    def tensor(array: Any, shared_memory: bool = False) -> ov.Tensor:
        made = real(array, shared_memory=shared_memory)
        shared.append(np.shares_memory(made.data, pixels))
        return made

    monkeypatch.setattr(openvino_classifier.ov, "Tensor", tensor)
    expected = classifier(pixels)
    assert shared == [True]
    pixels.setflags(write=False)  # as those of a shard: these are copied, since OpenVINO takes no others
    assert (classifier(pixels) == expected).all() and shared == [True, False]


def test_an_upload_is_copied_twice_at_the_most() -> None:
    """Out of the body as it arrives, and together for the decoder; one that came in one piece not even that."""
    pieces = [bytes(50_000) for _ in range(4)]
    upload = Upload("a.jpg")
    tracemalloc.start()
    for piece in pieces:
        upload.add(piece)
    whole = upload.read()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(whole) == 200_000 and peak < 205_000
    single = Upload("b.jpg")
    single.add(pieces[0])
    assert single.read() is pieces[0]


def test_a_request_holds_little_more_than_its_body(models_dir: Path) -> None:
    """In Python's memory: the pieces, the photograph, its pixels, the answer. Pillow's own is not counted there."""

    async def test(app: FastAPI) -> None:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        assert await ask(app, BODY) == 200
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        pixels = 224 * 224 * 3
        assert peak - before < 3 * len(BODY) + 2 * pixels + 100_000

    with_app(models_dir, test)


def test_a_request_takes_few_calls(models_dir: Path) -> None:
    async def test(app: FastAPI) -> None:
        calls = Counter[str]()

        def note(frame: Any, event: str, _: Any) -> None:
            # Not asyncio's own: how often its timers are compared depends on the moment, and the server runs on uvloop.
            if (
                event == "call"
                and "asyncio" not in frame.f_code.co_filename
                and threading.current_thread() is threading.main_thread()
            ):
                calls[frame.f_code.co_qualname] += 1

        sys.setprofile(note)
        try:
            assert await ask(app, BODY) == 200
        finally:
            sys.setprofile(None)
        assert sum(calls.values()) <= MOST_CALLS, calls.most_common(20)

    with_app(models_dir, test)


def test_refusals_do_not_fill_the_log(models_dir: Path) -> None:
    """A hundred refusals within a second or two: a line a second, with the number so far."""

    async def test(app: FastAPI) -> None:
        scheduler = app.state.predictor.scheduler
        with scheduler.reserve(Settings().queue_images, Priority.INTERACTIVE), capture_logs() as lines:
            started = time.monotonic()
            statuses = [await ask(app, BODY) for _ in range(100)]
            seconds = time.monotonic() - started
        assert statuses == [429] * 100
        refusals = [line["refused"] for line in lines if line.get("status") == 429]
        assert refusals[0] == 1 and len(refusals) <= 1 + seconds

    with_app(models_dir, test)
