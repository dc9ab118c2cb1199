"""A detector among the variants: what finds things is loaded, scheduled and kept as what classifies them is."""

from __future__ import annotations

from collections.abc import Callable

from backend.predictor import Predictor
from contract.transform import Pixels, rgb_to_pixels
from inference.artefacts import Variant
from inference.boxes import LEAST_SCORE, MOST_BOXES, Detection, detections
from inference.scheduler import Priority

__all__ = ["Decode", "LaneDetector"]

Decode = Callable[[bytes], Pixels]
"""A frame's bytes → the upright frame that networks get to see, uint8[H,W,3]. Raises BadImage."""


class LaneDetector:
    """Finds things by `variant`. A frame is decoded once, by the lane that is about to compute."""

    def __init__(self, predictor: Predictor, variant: Variant, decode: Decode) -> None:
        self._predictor = predictor
        self._variant = variant
        self._decode = decode

    @property
    def name(self) -> str:
        """The detector's."""
        return self._variant.model

    async def find(self, frame: bytes) -> tuple[Pixels, list[Detection]]:
        """The upright frame, uint8[H,W,3], and what is on it, the surest first; its place must have been reserved.

        Raises BadImage or WrongAnswer, which are the frame's; Closed.
        """
        card = self._predictor.artefact(self._variant).card
        upright: list[Pixels] = []

        def make() -> Pixels:
            upright.append(self._decode(frame))
            return rgb_to_pixels(upright[0], card.transform)

        answer = await self._predictor.scheduler.run_made(self._variant, make, Priority.LIVE)
        return upright[0], detections(answer, card.labels, LEAST_SCORE, MOST_BOXES)
