"""Denoising that keeps edges, before inference: the guided filter (He, Sun and Tang, "Guided image filtering", 2013).

    uint8[H,W,3] --Filter--> uint8[H,W,3]

Within each window of 2·radius + 1 pixels a side, a channel is taken for a line of its own values, a·I + b, where
a = variance / (variance + eps) and b = (1 - a)·mean; a pixel becomes the mean of what all windows around it say. What
varies far less than eps is averaged, what varies far more is kept. Beyond the border the picture is its own mirror
image, the outermost pixel repeated. Each channel guides itself (docs/adr/0033-guided-filter.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from contract.transform import Pixels

Values = npt.NDArray[np.float64]
Border = Literal["mirror", "shrink"]

MOST_RADIUS = 7
"""What the kernel for CUDA sums exactly and has room for; here the same, so that a setting holds on every device."""


class NoFilter(Exception):
    """The filter cannot be computed on the device that was named; the message says why."""


class Filter(Protocol):
    """Denoises one frame at a time; calls may come from several threads at once."""

    def __call__(self, pixels: Pixels) -> Pixels:
        """uint8[H,W,3] → uint8[H,W,3]. Raises ValueError on another shape or type."""


@dataclass(frozen=True, slots=True)
class FilterSpec:
    """How far the filter looks, in pixels, and how much it takes for noise: a deviation on the scale 0..1.

    `deviation` is the square root of He's eps: where pixels deviate by that much, half of it stays.
    """

    radius: int = 2
    deviation: float = 0.04

    def __post_init__(self) -> None:
        if not 1 <= self.radius <= MOST_RADIUS:
            raise ValueError(f"the filter's radius must be between 1 and {MOST_RADIUS}, not {self.radius}")
        if not 0.001 <= self.deviation <= 1:
            raise ValueError(f"the filter's deviation must be between 0.001 and 1, not {self.deviation}")

    @property
    def variance(self) -> float:
        """He's eps on the scale 0..255²."""
        return (255 * self.deviation) ** 2


class GuidedFilter:
    """OpenCV's filter, one channel after the other, on the thread that calls."""

    def __init__(self, spec: FilterSpec | None = None) -> None:
        """Raises NoFilter where OpenCV has no such filter."""
        import cv2  # noqa: PLC0415  # tens of megabytes, for those who filter

        if not hasattr(getattr(cv2, "ximgproc", None), "guidedFilter"):
            raise NoFilter("OpenCV lacks its contributions; requirements/live.txt names the package that has them")
        # For the whole process: the callers are threads already, one a core.
        cv2.setNumThreads(1)
        self._cv2, self._spec = cv2, spec or FilterSpec()

    def __call__(self, pixels: Pixels) -> Pixels:
        """uint8[H,W,3] → uint8[H,W,3]. Raises ValueError on another shape or type."""
        check_frame(pixels)
        filtered = self._cv2.ximgproc.guidedFilter
        radius, variance = self._spec.radius, self._spec.variance
        channels = self._cv2.split(np.ascontiguousarray(pixels))
        return np.asarray(self._cv2.merge([filtered(one, one, radius, variance) for one in channels]), dtype=np.uint8)


def check_frame(pixels: Pixels) -> None:
    """Raises ValueError unless `pixels` is uint8[H,W,3] with H, W ≥ 1."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"expected uint8[H,W,3], got {pixels.dtype}{list(pixels.shape)}")


def reference(pixels: Pixels, spec: FilterSpec, border: Border = "mirror") -> Values:
    """uint8[H,W,3] → float64[H,W,3], not rounded: what every filter here is held to, in the formula's own words.

    With "shrink" a window at the border has only the pixels that are there, as in He's own program.
    """
    image = pixels.astype(np.float64)
    mean = _box_mean(image, spec.radius, border)
    variance = _box_mean(image**2, spec.radius, border) - mean**2
    a = variance / (variance + spec.variance)
    b = (1 - a) * mean
    return _box_mean(a, spec.radius, border) * image + _box_mean(b, spec.radius, border)


def _box_mean(values: Values, radius: int, border: Border) -> Values:
    """float64[H,W,C]: each value becomes the mean of its window."""
    if border == "mirror":
        return _box_sum(values, radius, "symmetric") / (2 * radius + 1) ** 2
    return _box_sum(values, radius, "constant") / _box_sum(np.ones_like(values), radius, "constant")


def _box_sum(values: Values, radius: int, mode: Literal["symmetric", "constant"]) -> Values:
    padded = np.pad(values, [(radius, radius), (radius, radius), (0, 0)], mode=mode)
    down = np.lib.stride_tricks.sliding_window_view(padded, 2 * radius + 1, axis=0).sum(axis=-1)
    both: Values = np.lib.stride_tricks.sliding_window_view(down, 2 * radius + 1, axis=1).sum(axis=-1)
    return both
