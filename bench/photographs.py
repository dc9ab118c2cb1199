"""The photographs that the measurements run on: the samples, and 12-megapixel pictures made of them."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from bench.zips import encoded

COUNT = 64
KILOBYTES = 120


@dataclass(frozen=True)
class Photograph:
    """A file's bytes, and the index of what is on it (None: not known)."""

    name: str
    data: bytes
    index: int | None


def samples_folder() -> Path:
    """What NINEFOLD_SAMPLES names; ends the program where it does not."""
    named = os.environ.get("NINEFOLD_SAMPLES")
    return Path(named or sys.exit("bench: NINEFOLD_SAMPLES must name a folder with a labels.csv"))


def samples() -> Iterator[Photograph]:
    """The labelled photographs in the samples' folder."""
    folder = samples_folder()
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield Photograph(row["file"], (folder / row["file"]).read_bytes(), int(row["index"]))


def enlarged(photograph: Photograph, megapixels: float = 12) -> Photograph:
    """The photograph as a camera's file: enlarged, with grain (there is detail at every scale), as a JPEG."""
    with Image.open(io.BytesIO(photograph.data)) as opened:
        small = opened.convert("RGB")
    factor = (megapixels * 1e6 / (small.width * small.height)) ** 0.5
    large = small.resize((round(small.width * factor), round(small.height * factor)), Image.Resampling.LANCZOS)
    grain = np.random.default_rng(0).normal(0, 6, (large.height, large.width, 1)).astype(np.float32)
    buffer = io.BytesIO()
    Image.fromarray(np.clip(np.asarray(large) + grain, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return Photograph(photograph.name, buffer.getvalue(), photograph.index)


def alike(count: int = COUNT, megapixels: float | None = None) -> list[Photograph]:
    """`count` samples as JPEGs of about KILOBYTES each; with `megapixels`, a quarter as many, as a camera's files."""
    count = max(count // 4, 4) if megapixels else count
    chosen = [photograph for photograph, _ in zip(samples(), range(count), strict=False)]
    return [enlarged(each, megapixels) if megapixels else _weighing(each, KILOBYTES * 1000) for each in chosen]


def _weighing(photograph: Photograph, wanted: int, quality: int = 85) -> Photograph:
    """The photograph scaled so that its file has about `wanted` bytes, which grow with the square of the factor."""
    with Image.open(io.BytesIO(photograph.data)) as opened:
        picture = opened.convert("RGB")
    factor, data = 1.0, b""
    for _ in range(6):
        data = encoded(picture, factor, quality)
        factor *= (wanted / len(data)) ** 0.5
    return Photograph(photograph.name, data, photograph.index)


def folder(path: Path) -> Iterator[Photograph]:
    """Every JPEG of at least 7 megapixels below a folder of one's own."""
    for file in sorted(path.rglob("*.jp*g")):
        with Image.open(file) as opened:
            large = opened.width * opened.height >= 7e6
        if large:
            yield Photograph(file.name, file.read_bytes(), None)
