"""Bytes to pixels, admitted by megapixels: nine huge pictures wait for each other, and memory is safe."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from contract.transform import ImageLimits, Pixels, TransformSpec, decode_rgb, to_pixels
from inference.engines import Decode

_FILTER_LAYERS = 8
"""How many times a frame's pixels (at four bytes) the guided filter holds at its peak, besides the frame."""


class PixelGate:
    """Lets threads through, first come first served, while what is inside stays within `capacity` pixels.

    A picture larger than the capacity passes when it is alone.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._inside = 0
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextmanager
    def admit(self, pixels: int) -> Iterator[None]:
        """Waits for room for `pixels`, and holds it within the block."""
        me, cost = object(), min(pixels, self._capacity)
        with self._changed:
            self._queue.append(me)
            self._changed.wait_for(lambda: self._queue[0] is me and self._inside + cost <= self._capacity)
            self._queue.popleft()
            self._inside += cost
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._inside -= cost
                self._changed.notify_all()


class Decoder:
    """Decodes in the thread that asks, within limits that all threads share."""

    def __init__(
        self,
        capacity: int,
        limits: ImageLimits,
        on_decoded: Callable[[float], None] = lambda _: None,
        decode: Decode = to_pixels,
    ) -> None:
        self._gate = PixelGate(capacity)
        self._limits = limits
        self._on_decoded = on_decoded
        self._decode = decode

    def pixels(self, read: Callable[[], bytes], spec: TransformSpec, limits: ImageLimits | None = None) -> Pixels:
        """uint8[H,W,3] of what `read` returns. Blocks until there is room. Raises BadImage."""
        return self._decode(read(), spec, limits or self._limits, self._admit)

    def upright(self, frame: bytes, limits: ImageLimits) -> Pixels:
        """uint8[H,W,3] of a camera's frame, in its own size. Blocks until there is room. Raises BadImage."""
        return decode_rgb(frame, limits, self._admit)

    def denoised(self, frame: Pixels, denoise: Callable[[Pixels], Pixels]) -> Pixels:
        """uint8[H,W,3] → the same, filtered. Blocks until there is room."""
        with self._gate.admit(_FILTER_LAYERS * frame.shape[0] * frame.shape[1]):
            return denoise(frame)

    @contextmanager
    def _admit(self, pixels: int) -> Iterator[None]:
        with self._gate.admit(pixels):
            started = time.perf_counter()
            yield
            self._on_decoded(time.perf_counter() - started)
