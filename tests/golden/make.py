"""Writes the golden pixels anew: `python -m tests.golden.make`. Only when a change of pixels is meant.

They come from torchvision's transform, not from our code, and are kept as files because the comparison with a live
torchvision cannot see a Pillow that decodes or resamples differently: it would change both sides alike.
"""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image, ImageOps
from torchvision.transforms import CenterCrop, Compose, Resize

from tests import pictures

FOLDER = Path(__file__).parent
REFERENCE = Compose([Resize(256, antialias=True), CenterCrop(224)])


def sideways() -> bytes:
    """The koala, stored lying on its side, with the EXIF orientation that turns it upright."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = Image.open(io.BytesIO(pictures.sample("koala.jpg"))).transpose(Image.Transpose.ROTATE_90)
    return pictures.encode(lying, "PNG", exif=exif)


SOURCES = {
    "macaw": lambda: pictures.sample("macaw.jpg"),
    "koala-sideways": sideways,
    "cat-grey-16-bit": lambda: pictures.encode(
        Image.open(io.BytesIO(pictures.sample("cat.jpg"))).convert("L").point(lambda v: v * 257, "I").convert("I;16"),
        "PNG",
    ),
}


def main() -> None:
    """Writes one PNG a source."""
    for name, source in SOURCES.items():
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(source())))
        if image.mode == "I;16":
            image = image.convert("I").point(lambda v: v / 257).convert("L")
        REFERENCE(image.convert("RGB")).save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main()
