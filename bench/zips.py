"""A zip of as many distinct photographs, and of as many megabytes, as a measurement wants: made of the samples.

    python -m bench.zips photos.zip --images 4500 --megabytes 495

Each picture is another crop of a sample, at another quality, and as large as the megabytes allow. The same numbers make
the same pictures. NINEFOLD_SAMPLES names the samples' folder.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

_QUALITIES = (70, 80, 85, 90, 95)


def make_zip(path: Path, samples: Path, images: int, megabytes: float) -> int:
    """Writes `images` JPEGs that have about `megabytes` (10^6 bytes) together, stored. Returns the zip's bytes."""
    written, factor = 0, 1.0
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number, crop in zip(range(images), _crops(samples), strict=False):
            data = encoded(crop, factor, _QUALITIES[number % len(_QUALITIES)])
            archive.writestr(f"photos/{number:05d}.jpg", data)
            written += len(data)
            # Towards the mean that the rest must have, a little with each picture.
            wanted = max(megabytes * 1e6 - written, 1) / max(images - number - 1, 1)
            factor = min(max(factor * (wanted / len(data)) ** 0.02, 0.1), 8)
    return path.stat().st_size


def _crops(samples: Path) -> Iterator[Image.Image]:
    """Without end, each another part of a sample."""
    chance = np.random.default_rng(0)
    files = sorted(samples.glob("*.jp*g"))
    if not files:
        raise FileNotFoundError(f"no JPEG in {samples}")
    while True:
        for file in files:
            with Image.open(file) as opened:
                whole = opened.convert("RGB")
            share = chance.uniform(0.7, 1)
            width, height = round(whole.width * share), round(whole.height * share)
            left, top = (int(chance.integers(0, room + 1)) for room in (whole.width - width, whole.height - height))
            yield whole.crop((left, top, left + width, top + height))


def encoded(image: Image.Image, factor: float, quality: int) -> bytes:
    """The picture as a JPEG, its sides times `factor`."""
    size = (max(round(image.width * factor), 16), max(round(image.height * factor), 16))
    buffer = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def main() -> None:
    """Writes one zip."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", type=Path)
    parser.add_argument("--images", type=int, default=4500)
    parser.add_argument("--megabytes", type=float, default=495)
    given = parser.parse_args()
    folder = os.environ.get("NINEFOLD_SAMPLES") or sys.exit("bench: NINEFOLD_SAMPLES must name a folder of photographs")
    size = make_zip(given.path, Path(folder), given.images, given.megabytes)
    print(f"{given.path}: {given.images} images, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
