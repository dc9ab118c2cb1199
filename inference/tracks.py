"""The things on a camera's frames, followed from one to the next, so that each keeps its number and its label.

A label that is chosen anew on every frame flickers. Here a track's classes are the mean of what its last crops were
called, and its label stays until another class is well ahead. Which box continues which track is norfair's to say:
Kalman filters, and the overlap of boxes as `_Overlap` has it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from inference.boxes import overlaps

if TYPE_CHECKING:
    from norfair.tracker import Detection, TrackedObject

Boxes = npt.NDArray[np.floating[Any]]
Probabilities = npt.NDArray[np.floating[Any]]

UNSEEN_FRAMES = 30
"""A track ends once its thing was not found on so many frames in a row; what comes then has a new number. Until then
it goes on where it was found last, or where its movement would have led. What was found on one frame alone ends sooner.
"""

STEADY_CROPS = 10
"""About so many crops, the last ones, make a track's mean: a thing that was exchanged or turned gets its new name."""

_LEAST_OVERLAP = 0.3
# Two names for one thing are often next to equal. So many times the label's mean takes its place.
_LEAD = 1.25


@dataclass
class _Mean:
    """The mean of the probabilities that a track's crops had, of all the first few and then exponential; its label."""

    probabilities: npt.NDArray[np.float64]
    crops: int = 0
    label: int = 0

    def add(self, probabilities: Probabilities) -> None:
        self.crops += 1
        self.probabilities += (probabilities - self.probabilities) / min(self.crops, STEADY_CROPS)
        best = int(self.probabilities.argmax())
        if self.crops == 1 or self.probabilities[best] > _LEAD * self.probabilities[self.label]:
            self.label = best

    def steady(self) -> npt.NDArray[np.float64]:
        """The label first: it changes places with a class that is ahead, but not by enough."""
        shown, best = self.probabilities.copy(), int(self.probabilities.argmax())
        shown[[self.label, best]] = shown[[best, self.label]]
        shown[self.label] = np.nextafter(shown[self.label], 1)  # of equals it is the first, too
        return shown


class _Overlap:
    """How far boxes are from tracks, for norfair.

    A thing is awaited in its last size where the filter sees its middle: followed by its corners, one that shrinks
    would be inside out a few frames later. One that is out of sight is also awaited where it was found last. There
    it would take the box of whatever passes in front of it, so that boxes go to tracks that are in sight first.
    """

    def get_distances(self, tracks: Sequence[TrackedObject], found: Sequence[Detection]) -> npt.NDArray[np.float64]:
        """float64[boxes, tracks]: below 1 for a track in sight, 1 to 2 for another, infinite for too little overlap."""
        if not (tracks and found):
            return np.full((len(found), len(tracks)), np.inf)
        boxes = np.stack([each.points.ravel() for each in found])
        last = np.stack([each.last_detection.points for each in tracks])
        moved = (np.stack([each.estimate for each in tracks]) - last).mean(axis=1, keepdims=True)
        hidden = np.array([each.age - (each.last_detection.age or 0) > 1 for each in tracks])
        shares = overlaps(boxes, (last + moved).reshape(-1, 4))
        shares = np.where(hidden, np.maximum(shares, overlaps(boxes, last.reshape(-1, 4))), shares)
        return np.where(shares > _LEAST_OVERLAP, hidden + 1 - shares, np.inf)


class Tracks:
    """The tracks of one session; calls come one after the other.

    norfair takes seconds and some 80 MB to import, so it is when the first session that detects begins.
    """

    def __init__(self, unseen_frames: int = UNSEEN_FRAMES) -> None:
        """`unseen_frames`: at least 3."""
        from norfair import Detection, Tracker  # noqa: PLC0415

        self._detection = Detection
        self._tracker = Tracker(
            distance_function="iou",
            distance_threshold=2,
            # A track may be found again on the frame on which its counter falls below 0.
            hit_counter_max=unseen_frames - 1,
            initialization_delay=1,  # the second sighting fills the counter
            past_detections_length=0,
        )
        # By its arguments it takes names, and functions of one pair.
        self._tracker.distance_function = _Overlap()  # type: ignore[assignment]  # it asks for that method alone
        self._means: dict[int, _Mean] = {}
        self._frame = 0

    def __len__(self) -> int:
        """How many tracks there are, those included that are out of sight."""
        return len(self._means)

    def update(
        self, boxes: Boxes, probabilities: Probabilities
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """The next frame's boxes, float[N,4], and their classes, float[N,C] → the tracks' numbers, int64[N], and the
        steady probabilities of their classes, float64[N,C], of which the largest is the label's.

        To be called for frames without boxes as well: tracks end by them. Raises ValueError where the lengths differ.
        """
        if len(boxes) != len(probabilities):
            raise ValueError(f"{len(boxes)} boxes and the classes of {len(probabilities)}")
        numbers = self._follow(boxes)
        steady = np.empty(probabilities.shape, dtype=np.float64)
        for row, number in enumerate(numbers.tolist()):
            mean = self._means.setdefault(number, _Mean(np.zeros(probabilities.shape[1])))
            mean.add(probabilities[row])
            steady[row] = mean.steady()
        return numbers, steady

    def _follow(self, boxes: Boxes) -> npt.NDArray[np.int64]:
        self._frame += 1
        corners = boxes.astype(np.float64).reshape(-1, 2, 2)
        found = [self._detection(points, data=(self._frame, row)) for row, points in enumerate(corners)]
        self._tracker.update(found)
        alive = [track for track in self._tracker.tracked_objects if track.hit_counter_is_positive]
        numbers = np.full(len(boxes), -1, dtype=np.int64)
        for track in alive:
            frame, row = track.last_detection.data
            number = track.initializing_id  # it has this one from the first sighting on
            if frame == self._frame and number is not None:
                numbers[row] = number
                if not track.is_initializing:
                    track.hit_counter = track.hit_counter_max  # norfair counts what was missed before, too
        living = {track.initializing_id for track in alive}
        self._means = {number: mean for number, mean in self._means.items() if number in living}
        return numbers
