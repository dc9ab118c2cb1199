"""What is answered to a frame, by mode: what it shows, where things are in it, and what each of those is.

A `Look` is made for each session, so that it may keep what it has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt

from backend.live.session import Look, Seen
from backend.predictor import Predictor
from contract.transform import Pixels, TransformSpec
from inference.artefacts import Variant
from inference.classifier import Prediction, top_k
from inference.scheduler import Priority

__all__ = ["Boxes", "Detections", "Detector", "Mode", "look_for"]

Boxes = npt.NDArray[np.float32]
"""float32[N,4]: x1, y1, x2, y2 in 0..1 of the upright frame."""
Detections = npt.NDArray[np.float32]
"""float32[Q,6]: x1, y1, x2, y2, class, score; the best first, then rows of score 0."""

LEAST_SCORE = 0.5
"""What a detector is less sure of is not shown."""
MOST_BOXES = 16
"""Of one frame that are shown: the best. What bounds the crops that one frame brings into the queue."""
MARGIN = 0.1
"""Of a box's sides, that a crop has on each side of it: classifiers know things with a little of what is around."""


class Mode(StrEnum):
    """What is asked of each frame."""

    CLASSIFY = "classify"
    DETECT = "detect"
    BOTH = "detect+classify"


class Detector(Protocol):
    """Where things are, by a variant that the scheduler runs."""

    @property
    def labels(self) -> Sequence[str]:
        """By class."""

    async def find(self, frame: bytes) -> tuple[Pixels, Detections]:
        """The upright frame as uint8[H,W,3], and what is on it. Raises BadImage, Overloaded, Closed."""

    def crop(self, frame: Pixels, boxes: Boxes, margin: float, spec: TransformSpec) -> Pixels:
        """uint8[H,W,3] and its boxes → uint8[N,crop,crop,3], as the classifier's transform has them."""


def look_for(mode: Mode, predictor: Predictor, variant: Variant, k: int, detector: Detector | None) -> Look:
    """How a session's frames are answered. `variant`: the classifier. Raises ValueError: the mode needs a detector."""
    if mode is Mode.CLASSIFY:
        return _Classify(predictor, variant, k)
    if detector is None:
        raise ValueError(f"{mode} needs a detector")
    return _Detect(detector) if mode is Mode.DETECT else _DetectAndClassify(detector, predictor, variant)


class _Classify:
    """What the whole frame shows: the way of every picture, at the priority of live ones."""

    def __init__(self, predictor: Predictor, variant: Variant, k: int) -> None:
        self._predictor = predictor
        self._variant = variant
        self._k = k

    async def __call__(self, frame: bytes) -> Seen:
        """`labels`, the most probable first."""
        with self._predictor.scheduler.reserve(1, Priority.LIVE):
            logits = await self._predictor.logits(self._variant, lambda: frame, Priority.LIVE)
        labels = self._predictor.artefact(self._variant).card.labels
        return {"labels": [_row(found) for found in top_k(logits, labels, self._k)]}


class _Detect:
    """Where things are, and what the detector calls them."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    async def __call__(self, frame: bytes) -> Seen:
        """`boxes`, the surest first."""
        _, found = await self._detector.find(frame)
        labels = self._detector.labels
        return {"boxes": [_box(each[:4], labels[int(each[4])], float(each[5])) for each in _shown(found)]}


class _DetectAndClassify:
    """Where things are, and what the classifier calls each of them; all of a frame are one batch."""

    def __init__(self, detector: Detector, predictor: Predictor, variant: Variant) -> None:
        self._detector = detector
        self._predictor = predictor
        self._variant = variant

    async def __call__(self, frame: bytes) -> Seen:
        """`boxes`, the one first that the detector is surest of; `probability` is the classifier's."""
        rgb, found = await self._detector.find(frame)
        shown = _shown(found)
        if not len(shown):
            return {"boxes": []}
        card = self._predictor.artefact(self._variant).card
        # The crops of a frame take one place together: there are at most so many, and a session has one frame at work.
        with self._predictor.scheduler.reserve(1, Priority.LIVE):
            crops = await asyncio.to_thread(self._detector.crop, rgb, shown[:, :4], MARGIN, card.transform)
            logits = await self._predictor.scheduler.run(self._variant, crops, Priority.LIVE)
        best = [top_k(each, card.labels, 1)[0] for each in logits]
        return {"boxes": [_box(each[:4], top.label, top.probability) for each, top in zip(shown, best, strict=True)]}


def _shown(found: Detections) -> Detections:
    """float32[N,6] of those that are sure enough and have an area, N ≤ MOST_BOXES; boxes within the frame."""
    shown = found[found[:, 5] >= LEAST_SCORE].copy()
    shown[:, :4] = shown[:, :4].clip(0, 1)
    return shown[(shown[:, 2] > shown[:, 0]) & (shown[:, 3] > shown[:, 1])][:MOST_BOXES]


def _row(found: Prediction) -> Seen:
    return {"label": found.label, "index": found.index, "probability": found.probability}


def _box(box: npt.NDArray[np.float32], label: str, probability: float) -> Seen:
    return {"box": [round(float(edge), 4) for edge in box], "label": label, "probability": probability}
