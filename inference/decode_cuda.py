"""JPEGs decoded and resampled on a CUDA device: off by default, for cameras whose processor has enough to do.

    bytes --header--> device uint8[3,H,W] --rows--> 8 bits --columns--> 8 bits --crop--> pinned uint8[crop,crop,3]

NVIDIA's decoder (nvJPEG, by torchvision) in place of Pillow's, then what `contract.transform` does, in its order and
with its rounding. On a CPU torchvision's own decoder stands in, and all that follows is the same. What is no plain JPEG
of a camera's size, and what the decoder refuses, goes the usual way: so BadImage is `to_pixels`' own.
"""

from __future__ import annotations

import io
import threading
from contextlib import nullcontext

import torch
from PIL import Image
from torchvision.io import ImageReadMode, decode_jpeg
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from contract.transform import Admit, Header, ImageLimits, Pixels, TransformSpec, read_header, to_pixels

_MOST_PIXELS = 3840 * 2160
"""Larger pictures are decoded at a part of their size by `to_pixels`; here they would take twelve bytes a pixel."""
_MOST_TIMES = 4
"""How many times its shorter side the longer one may be: what is resized before the crop grows with that."""
_ORIENTATION_TAG = 0x0112
_LIMITS = ImageLimits()


class DeviceDecoder:
    """Called as `to_pixels` is, from any number of threads; one picture at a time, as torchvision has it anyway.

    On a stream of its own, through pinned memory; who waits for it sleeps.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._one_at_a_time = device, threading.Lock()
        self._pinned = device.type == "cuda"
        self._stream = torch.cuda.Stream(device) if self._pinned else None  # type: ignore[no-untyped-call]
        self._done = torch.cuda.Event(blocking=True) if self._pinned else None  # type: ignore[no-untyped-call]
        self._answer = self._host_memory(1)

    def __call__(
        self,
        data: bytes,
        spec: TransformSpec,
        limits: ImageLimits = _LIMITS,
        admit: Admit = lambda _: nullcontext(),
    ) -> Pixels:
        """As `to_pixels`: uint8[crop, crop, 3], in a buffer of its own. Raises BadImage, and nothing else."""
        header = read_header(data, spec, limits)
        if header.format == "JPEG" and _is_a_cameras(header) and _is_plain(data):
            try:
                with admit(header.width * header.height):
                    return self._pixels(data, spec)
            except RuntimeError:
                pass  # damaged or unusual: the usual way has words for it, or an answer
        return to_pixels(data, spec, limits, admit)

    def _pixels(self, data: bytes, spec: TransformSpec) -> Pixels:
        bits = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        with self._one_at_a_time, torch.inference_mode(), torch.cuda.stream(self._stream):
            pixels = resampled(decode_jpeg(bits, mode=ImageReadMode.RGB, device=self._device), spec)
            if self._answer.shape != pixels.shape:
                self._answer = self._host_memory(spec.crop)
            self._answer.copy_(pixels, non_blocking=True)
            if self._done is not None:
                self._done.record(self._stream)
                self._done.synchronize()
            return self._answer.numpy().copy()

    def _host_memory(self, side: int) -> torch.Tensor:
        return torch.empty((side, side, 3), dtype=torch.uint8, pin_memory=self._pinned)


def resampled(picture: torch.Tensor, spec: TransformSpec) -> torch.Tensor:
    """uint8[3,H,W], upright → uint8[crop,crop,3] on the same device, as `contract.transform` has it."""
    height, width = picture.shape[1:]
    shorter = min(height, width)
    whole = (spec.crop, spec.crop)
    down, across = whole if spec.whole else (int(spec.resize * side / shorter) for side in (height, width))
    rows = _resized(picture.unsqueeze(0), [height, across], spec)
    small = functional.center_crop(_resized(rows, [down, across], spec), list(whole))
    pixels: torch.Tensor = small[0].permute(1, 2, 0).contiguous()
    return pixels


def _resized(pictures: torch.Tensor, size: list[int], spec: TransformSpec) -> torch.Tensor:
    """In float32, as devices do; rounded to 8 bits, halves up, as Pillow does after each direction."""
    how = InterpolationMode(spec.interpolation)
    exact: torch.Tensor = functional.resize(pictures.float(), size, how, antialias=True)
    return (exact + 0.5).floor().clamp(0, 255).to(torch.uint8)


def _is_a_cameras(header: Header) -> bool:
    """Whether it has a size and a shape that cameras' frames have."""
    shorter, longer = sorted((header.width, header.height))
    return shorter * longer <= _MOST_PIXELS and longer <= _MOST_TIMES * shorter


def _is_plain(data: bytes) -> bool:
    """Whether the JPEG is of one picture, upright, in colour or grey: what every camera's frame is."""
    with Image.open(io.BytesIO(data)) as image:
        try:
            return image.mode in ("RGB", "L") and image.getexif().get(_ORIENTATION_TAG, 1) == 1
        except Exception:  # noqa: BLE001  # Pillow raises whatever it likes on damaged EXIF data
            return False
