"""How close our pixels and answers are to torchvision's transform with torch, and what reduced JPEG decoding costs.

    python -m bench.pixels                    the samples as they are, and enlarged to 12 megapixels
    python -m bench.pixels --megapixels 48    enlarged to another size (some minutes for each 12 megapixels)
    python -m bench.pixels --photos DIR       real large photographs of one's own as well
    python -m bench.pixels --quick            every eighth sample

The reference is torchvision's transform on a fully decoded picture, then torch in float32. `gap` is how many times
the target's shorter side a reduced picture must still have; `full` never reduces.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table
from torchvision.transforms import CenterCrop, Compose, Resize

from bench.photographs import Photograph, enlarged, folder, samples
from contract import transform
from contract.transform import Pixels, TransformSpec, to_pixels
from inference.artefacts import ArtefactStore, Variant
from inference.catalogue import BY_NAME
from inference.classifier import Logits, softmax
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from modelzoo.networks import build_network
from modelzoo.weights import obtain

SPEC = TransformSpec()
GAPS = {"full": 1e9, "8": 8.0, "4": 4.0, "2": 2.0, "1": 1.0}
REFERENCE = Compose([Resize(256, antialias=True), CenterCrop(224)])


class Row:
    """What one way of decoding gave on one set of photographs."""

    def __init__(self) -> None:
        self.differences: list[float] = []
        self.seconds = 0.0
        self.logits: list[Logits] = []

    def add(self, data: bytes, expected: Pixels, classifier: OpenVinoClassifier) -> None:
        """Decodes, compares with the reference's pixels, classifies."""
        started = time.perf_counter()
        pixels = to_pixels(data, SPEC)
        self.seconds += time.perf_counter() - started
        self.differences.append(float(np.abs(pixels.astype(int) - expected).mean()))
        self.logits.append(classifier(pixels[None])[0])


def measure(photographs: Iterable[Photograph], title: str) -> Table:
    """One table: a row for each gap, all of them against the same reference."""
    classifier, reference = _classifiers()
    rows = {name: Row() for name in GAPS}
    expected_logits = []
    for number, photograph in enumerate(photographs):
        with Image.open(io.BytesIO(photograph.data)) as opened:
            expected = np.array(REFERENCE(ImageOps.exif_transpose(opened).convert("RGB")))
        expected_logits.append(reference(expected[None])[0])
        turn = number % len(GAPS)  # each goes first as often as the others: the first one finds cold caches
        for name, gap in [*list(GAPS.items())[turn:], *list(GAPS.items())[:turn]]:
            transform._DRAFT_GAP = gap
            rows[name].add(photograph.data, expected, classifier)
    return _table(title, rows, np.array(expected_logits))


def _classifiers() -> tuple[OpenVinoClassifier, TorchClassifier]:
    artefact = ArtefactStore(Path("models")).get(Variant("efficientnet_lite0", "fp32"))
    model = BY_NAME["efficientnet_lite0"]
    if artefact is None:
        raise SystemExit("bench: build the model first: ninefold models build efficientnet_lite0")
    network = build_network(model, obtain(model, None, Path("models/.downloads")))
    return OpenVinoClassifier(artefact), TorchClassifier(network, model.transform)


def _table(title: str, rows: dict[str, Row], expected: Logits) -> Table:
    count = len(expected)
    columns = ["gap", "pixels: mean", "worst picture", "same top-1", "largest probability difference", "time / full"]
    table = Table(*columns, title=f"{title}: {count} pictures, {classes(expected)} classes")
    for name, row in rows.items():
        logits = np.array(row.logits)
        same = int((logits.argmax(1) == expected.argmax(1)).sum())
        off = float(np.abs(softmax(logits) - softmax(expected)).max())
        table.add_row(
            name,
            f"{np.mean(row.differences):.3f}",
            f"{max(row.differences):.3f}",
            f"{same}/{count}",
            f"{off:.4f}",
            f"{row.seconds / rows['full'].seconds:.2f}",
        )
    return table


def classes(logits: Logits) -> int:
    """How many different answers the reference gave: many, or the agreement would say little."""
    return len(set(logits.argmax(1).tolist()))


def main() -> None:
    """Prints one table a set of photographs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, help="a folder of large photographs of one's own")
    parser.add_argument("--megapixels", type=float, default=12, help="what the samples are enlarged to")
    parser.add_argument("--quick", action="store_true", help="every eighth sample")
    options = parser.parse_args()
    console = Console(width=110)
    chosen = list(samples())[:: 8 if options.quick else 1]
    console.print(measure(chosen, "samples as they are"))
    large = (enlarged(photograph, options.megapixels) for photograph in chosen)
    console.print(measure(large, f"samples enlarged to {options.megapixels:g} megapixels"))
    if options.photos:
        console.print(measure(folder(options.photos), str(options.photos.name)))


if __name__ == "__main__":
    main()
