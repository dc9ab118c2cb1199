"""Bytes to pixels in threads, admitted by megapixels: nine huge pictures wait for each other, and memory is safe."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from contract.transform import ImageLimits, Pixels, TransformSpec, read_header, to_pixels


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
    """Decodes images in `threads` threads."""

    def __init__(
        self, threads: int, capacity: int, limits: ImageLimits, on_decoded: Callable[[float], None] = lambda _: None
    ) -> None:
        self._gate = PixelGate(capacity)
        self._limits = limits
        self._on_decoded = on_decoded
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    async def pixels(self, read: Callable[[], bytes], spec: TransformSpec) -> Pixels:
        """uint8[H,W,3] of what `read` returns. `read` is called in a thread, once there is room. Raises BadImage."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, read, spec)

    def _decode(self, read: Callable[[], bytes], spec: TransformSpec) -> Pixels:
        data = read()
        header = read_header(data, spec, self._limits)
        with self._gate.admit(header.decoded_pixels):
            started = time.perf_counter()
            pixels = to_pixels(data, spec, self._limits)
            self._on_decoded(time.perf_counter() - started)
        return pixels

    def close(self) -> None:
        """Begins nothing more. A picture that is being decoded cannot be stopped, and is not waited for."""
        self._threads.shutdown(wait=False, cancel_futures=True)
