"""A detector among the variants: what finds things is loaded, scheduled and kept as what classifies them is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backend.live.looking import Boxes, Detections
from contract.transform import Pixels, TransformSpec
from inference.artefacts import Variant
from inference.scheduler import Priority, Scheduler

__all__ = ["Crop", "LaneDetector"]

Crop = Callable[[Pixels, Boxes, float, TransformSpec], Pixels]
"""uint8[H,W,3], its boxes and their margin → uint8[N,crop,crop,3]."""


class LaneDetector:
    """Runs `variant`, whose classifier answers uint8[1,S,S,3] with float32[1,Q,6].

    `decode` makes the upright frame, uint8[H,W,3], of its bytes, and raises BadImage; `shrink` makes the detector's
    pixels, uint8[S,S,3], of that. Both are called by the lane that is about to compute: a frame is decoded once.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        variant: Variant,
        labels: Sequence[str],
        decode: Callable[[bytes], Pixels],
        shrink: Callable[[Pixels], Pixels],
        crop: Crop,
    ) -> None:
        self.labels = labels
        self.crop = crop
        self._scheduler = scheduler
        self._variant = variant
        self._decode = decode
        self._shrink = shrink

    async def find(self, frame: bytes) -> tuple[Pixels, Detections]:
        """The upright frame as uint8[H,W,3], and float32[Q,6]. Raises BadImage, Overloaded, Closed."""
        upright: list[Pixels] = []

        def make() -> Pixels:
            upright.append(self._decode(frame))
            return self._shrink(upright[0])

        with self._scheduler.reserve(1, Priority.LIVE):
            found = await self._scheduler.run_made(self._variant, make, Priority.LIVE)
        return upright[0], found
