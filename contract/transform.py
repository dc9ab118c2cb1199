"""From an image's bytes to the uint8 pixels a network sees: one way for the server, the batch job and the camera.

    bytes --image_file--> header --decode--> pixels of the file --crop and resample--> uint8[H,W,3]
            BadImage: empty, too_many_bytes, unsupported_format, too_many_pixels, too_complex
                               BadImage: truncated, corrupt, unsupported_mode

A camera's frame is decoded once for several networks, and gives each the pixels that a lossless file would have given:

    bytes --decode_rgb--> uint8[H,W,3] --rgb_to_pixels--> of the whole frame
                                       --crop_pixels----> of each thing found on it

The reference is torchvision's `Resize(shorter side, bilinear, antialias)` + `CenterCrop` on a Pillow image.
Only the pixels that survive the crop are resampled: `Image.resize(box=…)` takes the same sampling grid as
resizing the whole picture and cropping afterwards. Normalisation is not done here: it is layer 0 of the artefact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from contract.image_file import BadImage, ImageLimits, open_image, undecodable

__all__ = [
    "BadImage",
    "Header",
    "ImageLimits",
    "TransformSpec",
    "crop_pixels",
    "decode_rgb",
    "read_header",
    "rgb_to_pixels",
    "to_pixels",
    "upright",
]

# How many times its pixels (at four bytes) a format's decoder holds at its peak; a test holds each to what it measures
# (docs/adr/0009-hostile-pictures.md). Others hold them once; twice if colours are converted or a JPEG is progressive.
_LAYERS = {"WEBP": 4, "AVIF": 3}
_BAND_ROWS = 256
# The same for `decode_rgb`, on top: decoded, turned upright, as an array.
_COPIES_OF_RGB = 3

# Resampling may start from a JPEG decoded at 1/2, 1/4 or 1/8 only while its shorter side stays at least this many
# times the target's. Measured by `python -m bench.pixels`; the decision is in docs/adr/0003-reduced-decoding.md.
_DRAFT_GAP = 8.0

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# In terms of the upright picture: which turns exchange its axes, and which run against its x or its y axis.
_SWAPPING = frozenset(_TURNS[tag] for tag in (5, 6, 7, 8))
_FLIPS_X = frozenset(_TURNS[tag] for tag in (2, 3, 6, 7))
_FLIPS_Y = frozenset(_TURNS[tag] for tag in (3, 4, 7, 8))
_PLAIN = ("RGB", "L")
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")

Box = tuple[float, float, float, float]
Pixels = npt.NDArray[np.uint8]
Boxes = npt.NDArray[np.floating[Any]]
"""float[N,4]: left, top, right and bottom edge, in shares (0..1) of the picture's width and height."""
Admit = Callable[[int], AbstractContextManager[None]]
"""Holds room for so many pixels, at four bytes each, while a picture is decoded."""


@dataclass(frozen=True)
class TransformSpec:
    """The geometry and the normalisation that a model's weights were trained with.

    `resize` is the length of the shorter side after resizing, `crop` the side of the centre crop (both in pixels);
    `mean` and `std` are per channel (RGB) on the scale 0..1 and are applied by the artefact, not by `to_pixels`.
    `whole`: nothing is cut off, and the picture becomes `crop` × `crop` whatever its shape was, as detectors want it;
    `resize` then means nothing and is `crop`, too.
    """

    resize: int = 256
    crop: int = 224
    interpolation: str = "bilinear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    whole: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.crop <= self.resize:
            raise ValueError(f"crop must be between 1 and resize ({self.resize}), not {self.crop}")
        if self.interpolation not in _FILTERS:
            raise ValueError(f"interpolation must be one of {', '.join(_FILTERS)}, not {self.interpolation!r}")
        if self.whole and self.resize != self.crop:
            raise ValueError(f"resize must be crop ({self.crop}) where the whole picture is kept, not {self.resize}")

    @property
    def pixels_id(self) -> str:
        """Names the pixels this spec yields; specs that differ only in normalisation share them."""
        return f"{self.interpolation}-{'whole' if self.whole else self.resize}-{self.crop}"

    def to_dict(self) -> dict[str, Any]:
        """The spec as JSON values; `from_dict` reads it back."""
        return {
            "resize": self.resize,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        } | ({"whole": True} if self.whole else {})

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TransformSpec:
        """Reads what `to_dict` wrote. Raises KeyError, TypeError or ValueError on anything else."""
        mean, std = (tuple(float(value) for value in data[key]) for key in ("mean", "std"))
        if len(mean) != 3 or len(std) != 3:
            raise ValueError("mean and std must have three values, one per channel")
        whole = data.get("whole", False)
        if not isinstance(whole, bool):
            raise TypeError("whole must be true or false")
        return cls(int(data["resize"]), int(data["crop"]), str(data["interpolation"]), mean, std, whole)


_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Header:
    """What the first bytes of an image tell: its format, its size in pixels, and what decoding will hold at its peak.

    `decoded_pixels` is counted in pixels of four bytes; a decoder that keeps several copies counts as often.
    """

    format: str
    width: int
    height: int
    decoded_pixels: int


def read_header(data: bytes, spec: TransformSpec, limits: ImageLimits = ImageLimits()) -> Header:
    """Reads the header only: what to admit an image by, before any memory is spent on it.

    Raises BadImage for what `limits` refuse and for bytes that are no image of an accepted format.
    """
    with open_image(data, limits) as image:
        return _prepare(image, spec)[0]


def to_pixels(
    data: bytes, spec: TransformSpec, limits: ImageLimits = ImageLimits(), admit: Admit = lambda _: nullcontext()
) -> Pixels:
    """Decodes, turns upright, resizes, crops: uint8[crop, crop, 3], RGB, in a buffer of its own.

    Given only the bytes: a name or a content type has no say. Animations and multi-page files give their first frame.
    `admit` is told what decoding will hold at its peak, and may wait before it lets that happen.
    Raises BadImage, and nothing else, whatever the bytes are.
    """
    with _admitted(data, spec, limits, admit) as (image, full, scale):
        return _transform(image, spec, full, scale)


def decode_rgb(data: bytes, limits: ImageLimits = ImageLimits(), admit: Admit = lambda _: nullcontext()) -> Pixels:
    """Decodes and turns upright, and leaves the size as it is: uint8[H,W,3], RGB. For pictures of a camera's size.

    `admit` as in `to_pixels`. Raises BadImage, and nothing else, whatever the bytes are.
    """
    with _admitted(data, None, limits, admit) as (image, *_):
        return np.array(_upright(image), dtype=np.uint8)


def rgb_to_pixels(rgb: Pixels, spec: TransformSpec) -> Pixels:
    """uint8[H,W,3], upright → uint8[crop, crop, 3]: what `to_pixels` makes of the picture in a lossless file."""
    height, width, _ = rgb.shape
    box = _source_box((width, height), None, spec)
    grid = _on_decoded_grid(box, 1, (width, height))
    return np.array(_resample(Image.fromarray(rgb), grid, spec, turned=False), dtype=np.uint8)


def crop_pixels(rgb: Pixels, boxes: Boxes, margin: float, spec: TransformSpec) -> Pixels:
    """uint8[H,W,3], upright, and float[N,4] → uint8[N, crop, crop, 3], one image a box.

    Each box grows on each side by `margin` times its own width or height, outwards to whole pixels and no further than
    the picture. Its pixels are those that `to_pixels` makes of that part in a lossless file.
    Raises ValueError on boxes that are not finite.
    """
    if not np.isfinite(boxes).all():
        raise ValueError("boxes must be finite numbers")
    pixels = np.empty((len(boxes), spec.crop, spec.crop, 3), dtype=np.uint8)
    for number, (left, top, right, bottom) in enumerate(_cut_outs(rgb, boxes, margin)):
        pixels[number] = rgb_to_pixels(np.ascontiguousarray(rgb[top:bottom, left:right]), spec)
    return pixels


def _cut_outs(rgb: Pixels, boxes: Boxes, margin: float) -> list[tuple[int, int, int, int]]:
    """Left, top, right and bottom edge of each box with its margin, in whole pixels; at least one each way."""
    size = np.array([rgb.shape[1], rgb.shape[0]])
    corners = np.sort(np.clip(boxes.astype(np.float64), 0, 1).reshape(-1, 2, 2), axis=1) * size
    wider = margin * (corners[:, 1] - corners[:, 0])
    first = np.clip(np.floor(corners[:, 0] - wider), 0, size - 1)
    last = np.clip(np.ceil(corners[:, 1] + wider), first + 1, size)
    edges = np.hstack([first, last]).astype(int).tolist()
    return [(left, top, right, bottom) for left, top, right, bottom in edges]


@contextmanager
def _admitted(
    data: bytes, spec: TransformSpec | None, limits: ImageLimits, admit: Admit
) -> Iterator[tuple[ImageFile.ImageFile, tuple[int, int], int]]:
    """The picture that may now be decoded, its size as stored, and the scale it will be decoded at.

    Whatever goes wrong while it is decoded becomes a BadImage.
    """
    with open_image(data, limits) as image:
        try:
            header, scale = _prepare(image, spec)
            with admit(header.decoded_pixels):
                yield image, (header.width, header.height), scale
        except BadImage:
            raise
        except Exception as error:
            # Pillow's plug-ins raise SyntaxError, struct.error, KeyError … on hostile bytes: all mean the same.
            raise undecodable(error) from error


def upright(data: bytes, side: int, limits: ImageLimits = ImageLimits()) -> Image.Image:
    """The whole picture as `to_pixels` sees it before the crop: upright, in RGB, transparent parts over white.

    A large JPEG is decoded at 1/2, 1/4 or 1/8 as long as neither side falls below `side`. Raises BadImage.
    """
    with _admitted(data, None, limits, lambda _: nullcontext()) as (image, *_):
        image.draft(None, (side, side))
        return _upright(image)


def _upright(image: ImageFile.ImageFile) -> Image.Image:
    image.load()
    turn = _TURNS.get(_orientation(image))
    flat = image.convert("RGB") if _is_plain(image) else _flatten(image, (0, 0, *image.size))
    return flat if turn is None else flat.transpose(turn)


def _prepare(image: ImageFile.ImageFile, spec: TransformSpec | None) -> tuple[Header, int]:
    """The header, and the scale (1, 2, 4 or 8) that decoding is set to; without a spec all of it is decoded."""
    full, progressive = image.size, image.info.get("progressive")
    scale = 1 if spec is None else _draft(image, spec)
    # A progressive JPEG keeps all coefficients of the full picture, whatever scale it is decoded at.
    width, height = full if progressive else image.size
    layers = _LAYERS.get(image.format or "", 2 if progressive or image.mode not in _PLAIN else 1)
    layers += _COPIES_OF_RGB if spec is None else 0
    return Header(image.format or "", *full, width * height * layers), scale


def _transform(image: ImageFile.ImageFile, spec: TransformSpec, full: tuple[int, int], scale: int) -> Pixels:
    image.load()
    turn = _TURNS.get(_orientation(image))
    box = _source_box(full, turn, spec)
    grid = _on_decoded_grid(box, scale, image.size)
    small = _resample(image, grid, spec, turned=turn in _SWAPPING)
    if turn is not None:
        small = small.transpose(turn)
    return np.array(small, dtype=np.uint8)


def _draft(image: ImageFile.ImageFile, spec: TransformSpec) -> int:
    """Asks the JPEG decoder for the smallest picture that is still large enough; returns 1, 2, 4 or 8."""
    if image.format not in ("JPEG", "MPO"):
        return 1
    wanted = round(_DRAFT_GAP * spec.resize)
    full_width = image.size[0]
    drafted = image.draft(None, (wanted, wanted))  # None keeps the mode
    return 1 if drafted is None else round(full_width / drafted[1][2])


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001  # Damaged EXIF data is no reason to refuse a picture that decodes.
        return 1


def _source_box(size: tuple[int, int], turn: Image.Transpose | None, spec: TransformSpec) -> Box:
    """The part of the picture as stored that survives resize and crop of the upright picture, in its pixels."""
    if spec.whole:
        return 0.0, 0.0, float(size[0]), float(size[1])
    swapped = turn in _SWAPPING
    width, height = (size[1], size[0]) if swapped else size
    left, right = _span(width, min(width, height), spec)
    top, bottom = _span(height, min(width, height), spec)
    flip_x, flip_y = (width - right, width - left), (height - bottom, height - top)
    across = flip_x if turn in _FLIPS_X else (left, right)
    down = flip_y if turn in _FLIPS_Y else (top, bottom)
    if swapped:
        across, down = down, across
    return across[0], down[0], across[1], down[1]


def _span(length: int, shorter: int, spec: TransformSpec) -> tuple[float, float]:
    resized = int(spec.resize * length / shorter)
    start = round((resized - spec.crop) / 2.0)
    return start * length / resized, (start + spec.crop) * length / resized


def _on_decoded_grid(box: Box, scale: int, size: tuple[int, int]) -> Box:
    limits = (*size, *size)
    left, top, right, bottom = (
        min(max(edge / scale, 0.0), float(most)) for edge, most in zip(box, limits, strict=True)
    )
    return left, top, right, bottom


def _resample(image: Image.Image, box: Box, spec: TransformSpec, turned: bool) -> Image.Image:
    """`box` of the picture, as a square of the crop's size: first along the upright picture's rows, as the reference.

    One call for both directions would let Pillow choose their order, and each direction rounds to 8 bits.
    """
    side, resampling = spec.crop, _FILTERS[spec.interpolation]
    left, top, right, bottom = read = _read_region(image.size, box, spec)
    if not _is_plain(image):
        image = _flatten(image, read)
        box = (box[0] - left, box[1] - top, box[2] - left, box[3] - top)
        left, top, right, bottom = 0, 0, right - left, bottom - top
    if turned:
        image = image.resize((right - left, side), resampling, box=(left, box[1], right, box[3]))
        image = image.resize((side, side), resampling, box=(box[0] - left, 0, box[2] - left, side))
    else:
        image = image.resize((side, bottom - top), resampling, box=(box[0], top, box[2], bottom))
        image = image.resize((side, side), resampling, box=(0, box[1] - top, side, box[3] - top))
    return image.convert("RGB")


def _is_plain(image: Image.Image) -> bool:
    """Whether its values are colours as they are, with nothing to see through."""
    return image.mode in _PLAIN and "transparency" not in image.info


def _read_region(size: tuple[int, int], box: Box, spec: TransformSpec) -> tuple[int, int, int, int]:
    """What the filter will read: neither a change of mode nor a first pass is spent on the rest."""
    reach = 2 if spec.interpolation == "bicubic" else 1
    margins = [reach * max((box[axis + 2] - box[axis]) / spec.crop, 1) + 1 for axis in (0, 1)]
    left, top = (max(int(box[axis] - margins[axis]), 0) for axis in (0, 1))
    right, bottom = (min(int(box[axis + 2] + margins[axis]) + 1, size[axis]) for axis in (0, 1))
    return left, top, right, bottom


def _flatten(image: Image.Image, region: tuple[int, int, int, int]) -> Image.Image:
    """The region in RGB, whatever the mode; band by band, so that the layers in between cost no memory."""
    left, top, right, bottom = region
    flat = Image.new("RGB", (right - left, bottom - top))
    for row in range(top, bottom, _BAND_ROWS):
        band = image.crop((left, row, right, min(row + _BAND_ROWS, bottom)))
        flat.paste(_flat_band(band), (0, row - top))
    return flat


def _flat_band(band: Image.Image) -> Image.Image:
    """Transparent parts over white, 16-bit grey by its high byte."""
    if band.mode.startswith("I;16"):
        values = np.asarray(band)
        grey = np.where(values == band.info.get("transparency", -1), 255, values >> 8)
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    try:
        if band.mode not in _WITH_ALPHA and "transparency" not in band.info:
            return band.convert("RGB")
        layer = band.convert("RGBA")
    except ValueError as error:
        message = f"The colour mode {band.mode} is not supported. Save the picture as RGB with 8 bits a channel."
        raise BadImage("unsupported_mode", message) from error
    white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, layer).convert("RGB")
