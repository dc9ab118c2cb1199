"""How near pixels decoded by a CUDA device are to the processor's, and whether the answers stay: `bench.gpu decode`.

The samples go both ways, the answers of both come from one classifier, and each way is timed, the two taking turns.
With `--device cpu` torchvision's decoder on the processor stands in for the device's: what is compared then is
resampling alone, and the times say nothing of a GPU.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from rich.table import Table

from bench.photographs import Photograph
from contract.transform import Pixels, TransformSpec, to_pixels
from inference.artefacts import Artefact
from inference.classifier import Logits, softmax
from inference.decode_cuda import DeviceDecoder
from inference.openvino_classifier import OpenVinoClassifier

SPECS = (TransformSpec(), TransformSpec(333, 299, "bicubic"), TransformSpec(640, 640, whole=True))
"""ImageNet's, as most classifiers have it; Xception's; a detector's, which keeps the whole frame."""


class Pair:
    """Both ways' pixels of the same photographs, and the seconds that they took."""

    def __init__(self, decode: DeviceDecoder, spec: TransformSpec, photographs: Sequence[Photograph]) -> None:
        self.apart: list[npt.NDArray[np.int64]] = []
        self.pixels: tuple[list[Pixels], list[Pixels]] = ([], [])
        seconds = [0.0, 0.0]
        ways = (decode, to_pixels)
        decode(photographs[0].data, spec)
        for number, photograph in enumerate(photographs):
            for way in (0, 1) if number % 2 else (1, 0):
                begun = time.perf_counter()
                self.pixels[way].append(ways[way](photograph.data, spec))
                seconds[way] += time.perf_counter() - begun
            ours, theirs = (pixels[-1].astype(np.int64) for pixels in self.pixels)
            self.apart.append(np.abs(ours - theirs))
        self.ratio = seconds[0] / seconds[1]


def agreement(decode: DeviceDecoder, photographs: Sequence[Photograph], title: str) -> Table:
    """A row a transform: levels apart, and the device's time as a multiple of the processor's."""
    heads = ("levels apart: mean", "worst picture", "largest", "time / to_pixels")
    table = Table("transform", *heads, title=f"{title}: {len(photographs)} photographs")
    for spec in SPECS:
        pair = Pair(decode, spec, photographs)
        means = [float(apart.mean()) for apart in pair.apart]
        largest = max(int(apart.max()) for apart in pair.apart)
        figures = (f"{np.mean(means):.4f}", f"{max(means):.4f}", str(largest), f"{pair.ratio:.2f}")
        table.add_row(spec.pixels_id, *figures)
    return table


def answers(decode: DeviceDecoder, photographs: Sequence[Photograph], artefact: Artefact) -> Table:
    """A row: how often the first answer is the same, how far probabilities are off, how many each way has right."""
    classifier, spec = OpenVinoClassifier(artefact, threads=1), artefact.card.transform
    ours, theirs = (
        np.stack([classifier(pixels[None])[0] for pixels in way]) for way in Pair(decode, spec, photographs).pixels
    )
    table = Table("model", "same first answer", "largest probability difference", "right", "right by to_pixels")
    off = float(np.abs(softmax(ours) - softmax(theirs)).max())
    same = int((ours.argmax(axis=1) == theirs.argmax(axis=1)).sum())
    rights = (str(_right(logits, photographs)) for logits in (ours, theirs))
    table.add_row(str(artefact.variant), f"{same}/{len(photographs)}", f"{off:.4f}", *rights)
    return table


def _right(logits: Logits, photographs: Sequence[Photograph]) -> int:
    return sum(int(best) == each.index for best, each in zip(logits.argmax(axis=1), photographs, strict=True))


def tables(device: torch.device, artefact: Artefact, photographs: Sequence[Photograph], title: str) -> list[Table]:
    """What `bench.gpu decode` prints."""
    decode = DeviceDecoder(device)
    return [agreement(decode, photographs, title), answers(decode, photographs, artefact)]
