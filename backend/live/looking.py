"""What is answered to a frame, by mode: what it shows, where things are in it, and what each of those is.

A `Look` is made for each session, so that it may keep what it has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.api.errors import translate
from backend.live.detector import Decode, LaneDetector
from backend.live.session import Look, Seen
from backend.live.shared import SharedDetector, SharedFilter, Trackers
from backend.predictor import Predictor
from contract.transform import Pixels, crop_pixels, rgb_to_pixels
from inference.artefacts import Variant
from inference.boxes import MARGIN, Detection, boxes_of
from inference.classifier import Logits, probabilities_of, top_k
from inference.detectors import Mode
from inference.scheduler import Overloaded, Priority
from inference.tracks import Tracks

__all__ = ["Looks", "soon"]

THREADS = 2
"""For what frames need beside the lanes: all sessions share them, and uploads have others."""
OPEN_SECONDS = 5.0
"""How long a client may be kept waiting for its upgrade: many give up after ten."""


@dataclass(frozen=True)
class Looks:
    """How frames may be looked at on this server. To be closed."""

    predictor: Predictor
    detector: SharedDetector
    filter: SharedFilter
    trackers: Trackers
    threads: Executor = field(default_factory=partial(ThreadPoolExecutor, THREADS, thread_name_prefix="live"))

    def check(self, mode: Mode, filtered: bool) -> None:
        """Loads nothing. Raises ApiError 409 where it is known that something is missing."""
        if mode is not Mode.CLASSIFY:
            self.detector.check()
        if mode is Mode.BOTH:
            self.trackers.check()
        if filtered:
            self.filter.check()

    async def make(self, mode: Mode, filtered: bool, variant: Variant, k: int) -> Look:
        """One session's, with what it needs in memory. `variant`: the classifier. Raises what `check` raises, and what
        loading the detector does."""
        predictor, decode = self.predictor, self.predictor.upright
        if filtered:
            decode = partial(predictor.denoised, await self.filter.load())
        if mode is Mode.CLASSIFY:
            return _Classify(predictor, variant, k, decode if filtered else None)
        detector = LaneDetector(predictor, (await self.detector.load()).variant, decode)
        if mode is Mode.DETECT:
            return _Detect(detector, predictor)
        return _DetectAndClassify(detector, predictor, variant, await self.trackers.load(), self.threads)

    def close(self) -> None:
        """Ends its threads, once no session is left."""
        self.threads.shutdown(wait=False, cancel_futures=True)


async def soon(making: Coroutine[None, None, Look]) -> Look:
    """What is being made. After OPEN_SECONDS one whose first frames wait for it, and then get what it raises."""
    task = asyncio.create_task(making)
    await asyncio.wait({task}, timeout=OPEN_SECONDS)
    if task.done():
        return task.result()
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # the client may have gone by then

    async def look(frame: bytes) -> Seen:
        try:
            made = await asyncio.shield(task)
        except Overloaded as full:  # no later frame would fare better
            raise translate(full) from full
        return await made(frame)

    return look


class _Classify:
    """What the whole frame shows: the way of every picture, at the priority of live ones."""

    def __init__(self, predictor: Predictor, variant: Variant, k: int, decode: Decode | None) -> None:
        """Without `decode` frames are decoded as all pictures are, no larger than need be."""
        self._predictor = predictor
        self._variant = variant
        self._k = k
        self._decode = decode

    async def __call__(self, frame: bytes) -> Seen:
        """`labels`, the most probable first."""
        card = self._predictor.artefact(self._variant).card
        with self._predictor.scheduler.reserve(1, Priority.LIVE):
            logits = await self._logits(frame)
        found = top_k(logits, card.labels, self._k)
        return {"labels": [{"label": one.label, "index": one.index, "probability": one.probability} for one in found]}

    async def _logits(self, frame: bytes) -> Logits:
        decode = self._decode
        if decode is None:
            return await self._predictor.frame_logits(self._variant, frame)
        spec = self._predictor.artefact(self._variant).card.transform

        def make() -> Pixels:
            return rgb_to_pixels(decode(frame), spec)

        return await self._predictor.scheduler.run_made(self._variant, make, Priority.LIVE)


class _Detect:
    """Where things are, and what the detector calls them."""

    def __init__(self, detector: LaneDetector, predictor: Predictor) -> None:
        self._detector = detector
        self._predictor = predictor

    async def __call__(self, frame: bytes) -> Seen:
        """`boxes`, the surest first."""
        with self._predictor.scheduler.reserve(1, Priority.LIVE):
            _, found = await self._detector.find(frame)
        boxes = [_box(one, one.label, one.index, one.score) for one in found]
        return {"boxes": boxes, "detector": self._detector.name}


class _DetectAndClassify:
    """Where things are, and what the classifier calls each of them, steadily; all of a frame are one batch."""

    def __init__(
        self, detector: LaneDetector, predictor: Predictor, variant: Variant, tracks: Tracks, threads: Executor
    ) -> None:
        self._detector = detector
        self._predictor = predictor
        self._variant = variant
        self._tracks = tracks
        self._threads = threads

    async def __call__(self, frame: bytes) -> Seen:
        """`boxes`, the one first that the detector is surest of; `probability` is the classifier's, over its track."""
        run, card = asyncio.get_running_loop().run_in_executor, self._predictor.artefact(self._variant).card
        probabilities = np.empty((0, len(card.labels)))
        # Frame and crops take one place together: crops are at most so many, and a session has one frame at work.
        with self._predictor.scheduler.reserve(1, Priority.LIVE):
            rgb, found = await self._detector.find(frame)
            boxes = boxes_of(found)
            if found:
                crops = await run(self._threads, crop_pixels, rgb, boxes, MARGIN, card.transform)
                logits = await self._predictor.scheduler.run(self._variant, crops, Priority.LIVE)
                probabilities = probabilities_of(logits)
        numbers, steady = await run(self._threads, self._tracks.update, boxes, probabilities)
        rows = zip(found, numbers.tolist(), steady, strict=True)
        named = [_steady_box(one, number, means, card.labels) for one, number, means in rows]
        return {"boxes": named, "detector": self._detector.name}


def _steady_box(
    found: Detection, track: int, means: npt.NDArray[np.float64], labels: tuple[str, ...]
) -> dict[str, Any]:
    best = int(means.argmax())
    return _box(found, labels[best], best, float(means[best])) | {"track": track}


def _box(found: Detection, label: str, index: int, probability: float) -> dict[str, Any]:
    box = [round(edge, 4) for edge in found.box]
    return {"box": box, "label": label, "index": index, "probability": probability}
