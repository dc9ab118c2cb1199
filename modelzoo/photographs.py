"""What int8 is calibrated on, and what it is then judged by: crops of photographs, never of the same ones.

By default freely licensed photographs that come with scikit-image and scikit-learn; a folder of one's own is better,
for it looks like what will be asked.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import Image

from contract.transform import BadImage, Pixels, TransformSpec, upright

CALIBRATION_CROPS, GATE_CROPS = 300, 1000
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
_LEAST_OWN = 10
_LARGEST_SIDE = 2048

_FOR_CALIBRATION = (
    "sklearn/datasets/images/china.jpg",
    *(
        f"skimage/data/{name}"
        for name in (
            "astronaut.png", "motorcycle_left.png", "hubble_deep_field.jpg", "retina.jpg", "camera.png",
            "brick.png", "gravel.png", "coins.png",
        )
    ),
)  # fmt: skip
_FOR_THE_GATE = (
    "sklearn/datasets/images/flower.jpg",
    *(f"skimage/data/{name}" for name in ("coffee.png", "rocket.jpg", "chelsea.png")),
)


class NoPhotographs(Exception):
    """There is nothing to calibrate on; the message says what to do."""


@dataclass(frozen=True)
class Photographs:
    """The files to calibrate on, those to judge by, and where they are from, in words."""

    calibration: tuple[Path, ...]
    gate: tuple[Path, ...]
    source: str


def bundled() -> Photographs:
    """Those that come with scikit-image and scikit-learn. Raises NoPhotographs."""
    return Photographs(
        tuple(_installed(name) for name in _FOR_CALIBRATION),
        tuple(_installed(name) for name in _FOR_THE_GATE),
        "photographs of scikit-image and scikit-learn",
    )


def from_folder(folder: Path) -> Photographs:
    """Every picture below `folder`: three of four to calibrate on, one to judge by. Raises NoPhotographs.

    Neither is in the order of names: `crops` may want the first few alone, and a folder is often one per class.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file())
    if len(files) < _LEAST_OWN:
        raise NoPhotographs(
            f"{folder} has {len(files)} pictures; at least {_LEAST_OWN} are needed, some hundreds are good"
        )
    mixed, judges = _mixed(files, folder), len(files) // 4
    return Photographs(mixed[judges:], mixed[:judges], "photographs of the operator's own")


def drawn(files: Iterable[Path], folder: Path, count: int) -> frozenset[Path]:
    """`count` of the files, chosen by a hash of each name below `folder`: one file more moves at most one other."""
    return frozenset(_mixed(files, folder)[:count])


def _mixed(files: Iterable[Path], folder: Path) -> tuple[Path, ...]:
    """By a hash of each name below `folder`: any first part of it is a fair sample, and always the same one."""

    def key(path: Path) -> bytes:
        return hashlib.sha256(os.fsencode(os.path.relpath(path, folder))).digest()

    return tuple(sorted(files, key=key))


def crops(files: Sequence[Path], count: int, spec: TransformSpec, *, least: float, seed: int) -> Pixels:
    """uint8[count,H,W,3]: parts of the pictures in turn, at random places, half of them mirrored; always the same ones.

    Of more pictures than `count` only the first give one. A part has between `least` and all of the picture's area,
    and the network's shape. Raises NoPhotographs.
    """
    random = np.random.default_rng(seed)
    made: list[np.ndarray] = []
    turns = [count // len(files) + (place < count % len(files)) for place in range(len(files))]
    for path, turn in zip(files, turns, strict=True):
        if not turn:
            continue
        picture = _open(path)
        made.extend(_crop(picture, random, least, spec) for _ in range(turn))
    return np.stack(made)


def one_crop(path: Path, spec: TransformSpec, *, least: float, seed: Sequence[int]) -> Pixels:
    """uint8[H,W,3]: one such part of one picture; the same one for the same `seed`. Raises NoPhotographs."""
    return _crop(_open(path), np.random.default_rng(seed), least, spec)


def _crop(picture: Image.Image, random: np.random.Generator, least: float, spec: TransformSpec) -> Pixels:
    share, shape = random.uniform(least, 1), np.exp(random.uniform(-0.3, 0.3))
    width, height = (
        min(round(side * share**0.5 * turn), side) for side, turn in zip(picture.size, (shape, 1 / shape), strict=True)
    )
    if width > height * 4 / 3:  # the network sees squares; what is far from one would be squeezed as no photograph is
        width = round(height * 4 / 3)
    elif height > width * 4 / 3:
        height = round(width * 4 / 3)
    left, top = (int(random.integers(0, room + 1)) for room in (picture.width - width, picture.height - height))
    box = (left, top, left + width, top + height)
    part = picture.resize((spec.crop, spec.crop), Image.Resampling.BILINEAR, box=box)
    if random.random() < 0.5:
        part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(part, dtype=np.uint8)


def _open(path: Path) -> Image.Image:
    try:
        return upright(path.read_bytes(), _LARGEST_SIDE)
    except (OSError, BadImage) as error:
        raise NoPhotographs(f"{path} cannot be read as a picture ({error}); take it out of the folder") from error


def _installed(name: str) -> Path:
    package, _, inside = name.partition("/")
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise NoPhotographs(f"the Python package {package}, whose photographs are used, is not installed")
    return Path(spec.submodule_search_locations[0]) / inside
