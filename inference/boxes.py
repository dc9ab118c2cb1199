"""What a detector answers, and how close one detector's answer is to another's.

An answer is float32[Q,6], a row a box, the surest first: left, top, right and bottom edge in shares (0..1) of the
frame, the class's index, the score (0..1). Rows that say nothing have score 0 and come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from contract.transform import Box
from inference.artefacts import Artefact
from inference.classifier import Logits, WrongAnswer

COLUMNS = 6
CLASS, SCORE = 4, 5

LEAST_SCORE = 0.5
"""What a detector is less sure of is not shown."""
MOST_BOXES = 16
"""Of one frame that are shown: the best. What bounds the crops that one frame brings into the queue."""
MARGIN = 0.1
"""Of a box's sides, that a crop has on each side of it: classifiers know things with a little of what is around."""

SAME_PLACE = 0.9
"""The least intersection over union of two boxes that count as one found twice."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One thing found: its box in shares of the frame, its class's name and index, its score."""

    box: Box
    label: str
    index: int
    score: float


@dataclass(frozen=True)
class Match:
    """What became of a reference's boxes in another answer: the share found again, and the largest differences
    of an edge, of a score, and of a score's logit."""

    found: float
    edge_difference: float
    score_difference: float
    logit_difference: float


def detections(answer: Logits, labels: Sequence[str], least: float, most: int = 50) -> list[Detection]:
    """The boxes of one frame's answer with at least this score, the surest first, no more than `most`.

    Boxes end where the frame does; those without width or height on it are left out. Raises WrongAnswer where a number
    is not finite or a class has no name.
    """
    if not np.isfinite(answer).all():
        raise WrongAnswer("The detector's numbers for this frame are not finite: it has no answer.")
    inside = _within(answer)
    wide = (inside[:, 2:4] > inside[:, 0:2]).all(axis=1)
    rows = inside[wide & (inside[:, SCORE] >= max(least, float(np.finfo(np.float32).tiny)))][:most]
    if len(rows) and not (rows[:, CLASS].min() >= 0 and rows[:, CLASS].max() < len(labels)):
        raise WrongAnswer("The detector names a class that it has no name for.")
    return [_detection(row, labels) for row in rows.tolist()]


def _within(answer: Logits) -> Logits:
    """The same float32[Q,6] with boxes that end where the frame does."""
    inside = answer.copy()
    inside[:, :CLASS] = inside[:, :CLASS].clip(0, 1)
    return inside


def _detection(row: Sequence[float], labels: Sequence[str]) -> Detection:
    left, top, right, bottom, index, score = row
    return Detection((left, top, right, bottom), labels[int(index)], int(index), score)


def boxes_of(found: Sequence[Detection]) -> npt.NDArray[np.float64]:
    """Their boxes as float64[N,4]."""
    return np.array([one.box for one in found], dtype=np.float64).reshape(-1, 4)


def overlaps(ours: npt.NDArray[np.floating[Any]], theirs: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float64]:
    """Intersection over union of float[N,4] and float[M,4]: float64[N,M]."""
    a, b = ours.astype(np.float64)[:, None], theirs.astype(np.float64)[None]
    sides = np.clip(np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]), 0, None)
    common: npt.NDArray[np.float64] = sides.prod(axis=-1)
    union = _area(a) + _area(b) - common
    shares = np.zeros_like(common)
    np.divide(common, union, out=shares, where=union > 0)
    return shares


def _area(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    areas: npt.NDArray[np.float64] = np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(axis=-1)
    return areas


def match(ours: Logits, theirs: Logits, best: int) -> Match:
    """How many of the `best` surest boxes of `theirs` are in `ours`, wherever in its order, and how far off.

    Found again is what has the same class in the same place; of several the one with the nearest score.
    """
    wanted = theirs[:best]
    same = (overlaps(wanted[:, :4], ours[:, :4]) >= SAME_PLACE) & (wanted[:, None, CLASS] == ours[None, :, CLASS])
    off = np.where(same, np.abs(wanted[:, None, SCORE] - ours[None, :, SCORE]), np.inf)
    nearest = off.argmin(axis=1)
    found = same.any(axis=1)
    if not found.any():
        return Match(0.0, 0.0, 0.0, 0.0)
    a, b = wanted[found].astype(np.float64), ours[nearest[found]].astype(np.float64)
    edges, scores, logits = a[:, :4] - b[:, :4], a[:, SCORE] - b[:, SCORE], _logits(a[:, SCORE]) - _logits(b[:, SCORE])
    return Match(float(found.mean()), *(float(np.abs(off).max()) for off in (edges, scores, logits)))


def _logits(scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sure = np.clip(scores, 1e-9, 1 - 1e-9)
    return np.log(sure / (1 - sure))


def check_golden_boxes(artefact: Artefact, answer: Logits) -> Detection:
    """Looks for the card's first box in the answer to `golden_pixels`, float32[1,Q,6]. Raises WrongAnswer.

    Its place in the order is not asked for: scores that are next to equal may change places.
    """
    golden, labels = artefact.card.golden, artefact.card.labels
    expected = golden.predictions[0]
    got = detections(answer[0], labels, least=0.0, most=1)
    wanted = np.array([[*(expected.box or ()), expected.index, expected.probability]], dtype=np.float32)
    found = match(_within(answer[0]), _within(wanted), best=1)
    if not got or not found.found or not found.score_difference <= golden.tolerance:
        says = f"{got[0].label!r} ({got[0].score:.4f})" if got else "nothing"
        raise WrongAnswer(
            f"{artefact.variant} sees {says} first on its golden image, "
            f"and not {expected.label!r} ({expected.probability:.4f}) where it should"
        )
    return Detection(expected.box or (0.0, 0.0, 0.0, 0.0), expected.label, expected.index, expected.probability)
