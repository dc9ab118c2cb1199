"""The guided filter on a CUDA device: a kernel of ours, in Triton, that takes a frame from pixels to pixels at once.

    uint8 tile and its halo --box--> mean, variance --> a, b --box--> a·I + b --> uint8 tile

A program has one channel of one tile, and holds it on the chip from its one load to its one store: a pixel of the
answer needs a and b as far as `radius` around it, and they the pixels as far again, so the halo is 2·radius wide.

Box sums are separable, and the sums along an axis are a product with a matrix that has ones within `radius` of its
diagonal: that is what tensor cores do, out of shared memory. They multiply float16 and add in float32. A factor that
does not fit float16 is split into two that do, so that the sums are as exact as float32 is (ADR 33). The mirrored
border is in the load alone: a mirrored picture has mirrored sums, so no later step knows of borders.
"""

from __future__ import annotations

import threading
from subprocess import SubprocessError

import numpy as np
import torch
import triton
import triton.language as tl

from contract.transform import Pixels
from inference.filters import FilterSpec, NoFilter, check_frame

_SIDE = 64
"""Of a tile with its halo, in pixels: the least that Hopper's tensor cores multiply at once."""
_OLDEST = (8, 0)
"""For older devices Triton has no tensor cores; it would compile for a minute, and compute without them."""


@triton.jit  # type: ignore[untyped-decorator]  # and what it decorates has Triton's types
def _mirrored(at, size, radius: tl.constexpr):  # type: ignore[no-untyped-def]
    """Where a place up to 2·radius before the start, or any way behind the end, lies in a mirrored axis."""
    period = 2 * size
    # A remainder has the sign of what is divided, so that is made positive.
    folded = (at + 2 * radius * period) % period
    return tl.minimum(folded, period - 1 - folded)


@triton.jit  # type: ignore[untyped-decorator]
def _box_sums(values, ones, split: tl.constexpr):  # type: ignore[no-untyped-def]
    """float32[side,side] → the same; without `split`, values and their sums must be integers up to 2048."""
    high = values.to(tl.float16)
    down = tl.dot(ones, high)
    if split:
        down = tl.dot(ones, (values - high.to(tl.float32)).to(tl.float16), down)
    high = down.to(tl.float16)
    both = tl.dot(high, ones)
    if split:
        both = tl.dot((down - high.to(tl.float32)).to(tl.float16), ones, both)
    return both


@triton.jit(do_not_specialize=["height", "width"])  # type: ignore[untyped-decorator]
def _guided(source, target, height, width, eps, radius: tl.constexpr, side: tl.constexpr):  # type: ignore[no-untyped-def]
    """One channel of one tile of uint8[N,height,width,3]; `eps` on the scale 0..255²."""
    step: tl.constexpr = side - 4 * radius
    share: tl.constexpr = 1 / (2 * radius + 1) ** 2
    at = tl.arange(0, side)
    rows = tl.program_id(1) * step - 2 * radius + at
    columns = tl.program_id(0) // 3 * step - 2 * radius + at
    plane = tl.program_id(2).to(tl.int64) * height * width * 3 + tl.program_id(0) % 3
    row, column = _mirrored(rows, height, radius), _mirrored(columns, width, radius)
    # Around 0, so that a channel and its sums fit float16; squares of up to 2^14 are taken as 128ths.
    pixels = tl.load(source + plane + (row[:, None] * width + column[None, :]) * 3).to(tl.float32) - 128
    ones = (tl.abs(at[:, None] - at[None, :]) <= radius).to(tl.float16)
    mean = _box_sums(pixels, ones, False) * share
    squares = _box_sums(pixels * pixels / 128, ones, True) * (128 * share)
    variance = tl.maximum(squares - mean * mean, 0)
    a = variance / (variance + eps)
    b = mean - a * mean
    smooth = (_box_sums(a, ones, True) * pixels + _box_sums(b, ones, True)) * share
    # Near the tile's own edge sums lack what lies outside it.
    whole = (at >= 2 * radius) & (at < side - 2 * radius)
    kept = (whole & (rows < height))[:, None] & (whole & (columns < width))[None, :]
    filtered = tl.floor(smooth + 128.5).to(tl.uint8)
    tl.store(target + plane + (rows[:, None] * width + columns[None, :]) * 3, filtered, mask=kept)


def guided(frames: torch.Tensor, spec: FilterSpec, out: torch.Tensor | None = None) -> torch.Tensor:
    """uint8[N,H,W,3] on a device → the same in `out`, which must be other memory; on the device's current stream.

    One launch, without allocations where `out` is given: it may be part of a CUDA graph. Raises ValueError on another
    shape, type or layout.
    """
    out = torch.empty_like(frames) if out is None else out
    for tensor in (frames, out):
        fits = tensor.dtype == torch.uint8 and tensor.ndim == 4 and tensor.shape[3] == 3 and tensor.numel()
        if not fits or not tensor.is_contiguous():
            raise ValueError(f"expected contiguous uint8[N,H,W,3], got {tensor.dtype}{list(tensor.shape)}")
    if out.shape != frames.shape:
        raise ValueError(f"{list(frames.shape)} does not fit into {list(out.shape)}")
    count, height, width, _ = frames.shape
    step = _SIDE - 4 * spec.radius
    grid = (3 * triton.cdiv(width, step), triton.cdiv(height, step), count)
    options = {"radius": spec.radius, "side": _SIDE, "num_warps": 4, "enable_fp_fusion": True}
    with torch.cuda.device_of(frames):  # type: ignore[no-untyped-call]  # where Triton launches, whatever it is given
        _guided[grid](frames, out, height, width, spec.variance, **options)
    return out


class CudaGuidedFilter:
    """Frames in the host's memory, one at a time, on a stream of its own and through pinned memory of its own."""

    def __init__(self, device: torch.device, spec: FilterSpec | None = None) -> None:
        """Compiles the kernel, unless Triton has kept it. Raises NoFilter where device or machine cannot have it."""
        self._device, self._spec = device, spec or FilterSpec()
        self._pinned, self._one_at_a_time = device.type == "cuda", threading.Lock()
        if self._pinned and torch.cuda.get_device_capability(device) < _OLDEST:
            raise NoFilter(f"the filter needs a GPU of compute capability {_OLDEST[0]}.{_OLDEST[1]} or newer")
        self._stream = torch.cuda.Stream(device) if self._pinned else None  # type: ignore[no-untyped-call]
        # A thread that waits leaves its processor to others.
        self._done = torch.cuda.Event(blocking=True) if self._pinned else None  # type: ignore[no-untyped-call]
        self._staged = self._host_memory(1, 1)
        try:
            self(np.zeros((1, 1, 3), dtype=np.uint8))
        except (RuntimeError, OSError, ImportError, SubprocessError) as error:
            raise NoFilter(f"Triton cannot start on {device}: {error}") from error

    def __call__(self, pixels: Pixels) -> Pixels:
        """uint8[H,W,3] → uint8[H,W,3]. Raises ValueError on another shape or type."""
        check_frame(pixels)
        with self._one_at_a_time, torch.cuda.stream(self._stream):
            if self._staged.shape[1:] != pixels.shape:
                self._staged = self._host_memory(*pixels.shape[:2])
            self._staged[0].numpy()[...] = pixels
            frames = self._staged.to(self._device, non_blocking=True)
            self._staged.copy_(guided(frames, self._spec), non_blocking=True)
            if self._done is not None:
                self._done.record(self._stream)
                self._done.synchronize()
            return self._staged[0].numpy().copy()

    def _host_memory(self, height: int, width: int) -> torch.Tensor:
        return torch.empty((1, height, width, 3), dtype=torch.uint8, pin_memory=self._pinned)
