"""What is on a frame: the pixels, networks, thresholds and tracks of the server's /v1/live, in this process.

`find` may be called by several threads at once, `settle` by one, in the order of the frames.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from contract.transform import Box, Pixels, crop_pixels, rgb_to_pixels
from inference.artefacts import Artefact
from inference.boxes import LEAST_SCORE, MARGIN, MOST_BOXES, Detection, boxes_of, detections
from inference.classifier import Classifier, probabilities_of
from inference.filters import Filter
from inference.tracks import Tracks

__all__ = ["Found", "Loaded", "Looking", "Thing"]

LINES = 3
"""How many labels a whole frame gets."""


@dataclass(frozen=True, slots=True)
class Thing:
    """What was seen: its box in shares of the frame (None: the whole frame), its class and how sure that is."""

    box: Box | None
    label: str
    index: int
    probability: float
    track: int | None = None


@dataclass
class Found:
    """Of one frame: `boxes` of the detector, `probabilities` of the classifier (float64[N,C], a row a box; one for all
    without a detector), and how many seconds each stage took."""

    boxes: list[Detection] = field(default_factory=list)
    probabilities: npt.NDArray[np.float64] | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timing(self, stage: str) -> Iterator[None]:
        """Adds what the block takes to the stage."""
        begun = time.perf_counter()
        yield
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - begun


@dataclass(frozen=True)
class Loaded:
    """An artefact that answers."""

    artefact: Artefact
    answer: Classifier


class Looking:
    """One for each run: it keeps what it has seen. Of detector and classifier, those that the mode needs."""

    def __init__(
        self, classifier: Loaded | None, detector: Loaded | None = None, denoise: Filter | None = None
    ) -> None:
        self._classifier = classifier
        self._detector = detector
        self._denoise = denoise
        self._tracks = Tracks() if classifier and detector else None

    def find(self, rgb: Pixels) -> Found:
        """What is on uint8[H,W,3]. Raises WrongAnswer."""
        found = Found()
        if self._denoise:
            with found.timing("filter"):
                rgb = self._denoise(rgb)
        if self._detector:
            self._detect(rgb, found, self._detector)
        if self._classifier:
            self._classify(rgb, found, self._classifier)
        return found

    def settle(self, found: Found) -> list[Thing]:
        """What to show of it, the surest first; labels are those of the tracks, as far as they are known."""
        if self._classifier is None:
            return [Thing(one.box, one.label, one.index, one.score) for one in found.boxes]
        labels, given = self._classifier.artefact.card.labels, found.probabilities
        assert given is not None  # noqa: S101  # there is a classifier, so `find` has asked it
        if self._tracks is None:
            order = np.argsort(-given[0], kind="stable")[:LINES].tolist()
            return [Thing(None, labels[index], index, float(given[0, index])) for index in order]
        with found.timing("track"):
            numbers, steady = self._tracks.update(boxes_of(found.boxes), given)
        best = steady.argmax(axis=1).tolist() if len(steady) else []
        return [
            Thing(one.box, labels[index], index, float(row[index]), number if number >= 0 else None)
            for one, row, index, number in zip(found.boxes, steady, best, numbers.tolist(), strict=True)
        ]

    def _detect(self, rgb: Pixels, found: Found, detector: Loaded) -> None:
        card = detector.artefact.card
        with found.timing("pixels"):
            pixels = rgb_to_pixels(rgb, card.transform)[None]
        with found.timing("detect"):
            found.boxes = detections(detector.answer(pixels)[0], card.labels, LEAST_SCORE, MOST_BOXES)

    def _classify(self, rgb: Pixels, found: Found, classifier: Loaded) -> None:
        card = classifier.artefact.card
        with found.timing("pixels"):
            if self._detector:
                pixels = crop_pixels(rgb, boxes_of(found.boxes), MARGIN, card.transform)
            else:
                pixels = rgb_to_pixels(rgb, card.transform)[None]
        if not len(pixels):
            found.probabilities = np.empty((0, len(card.labels)))
            return
        with found.timing("classify"):
            logits = classifier.answer(pixels)
        found.probabilities = probabilities_of(logits)
