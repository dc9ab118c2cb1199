"""What the guided filter gives: noise that it takes away, detail that it costs, and right answers.

    python -m bench.denoise --grid --every 32       radii and deviations, on every 32nd photograph
    python -m bench.denoise                         the default, and other guides; right answers as well

Frames are the samples within 640×480 with normal noise added, `sigma` of 255 levels, rounded. Both tables have the
peak signal-to-noise ratio (dB) to the frame without noise, the mean over all frames; where there is no noise, it is
what the filter takes from a clean frame. Right answers are of the fp32 model at the pixels that `to_pixels` makes.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np
from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from bench.photographs import samples
from bench.servers import ROOT
from contract.transform import Pixels, to_pixels
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.filters import Filter, FilterSpec, GuidedFilter
from inference.openvino_classifier import OpenVinoClassifier

SIGMAS = (0, 5, 10, 20)
RADII, DEVIATIONS = (1, 2, 4, 6), (0.02, 0.03, 0.04, 0.05, 0.07)
NOTHING, OURS = "no filter", "guided by each channel itself"


def frames(every: int) -> Iterator[tuple[Pixels, int | None]]:
    """Every so many samples as a camera would show it, and the index of what is on it."""
    for photograph in list(samples())[::every]:
        with Image.open(io.BytesIO(photograph.data)) as opened:
            picture = ImageOps.exif_transpose(opened).convert("RGB")
        picture.thumbnail((640, 480))
        yield np.array(picture), photograph.index


def noisy(frame: Pixels, sigma: float, seed: int) -> Pixels:
    """uint8[H,W,3] → the same with noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, frame.shape)
    return np.clip(np.rint(frame + noise), 0, 255).astype(np.uint8)


def decibels(frame: Pixels, clean: Pixels) -> float:
    """The peak signal-to-noise ratio; of equal frames infinite."""
    error = float(np.mean((frame.astype(np.float64) - clean) ** 2))
    return float(10 * np.log10(255**2 / error)) if error else float("inf")


def guides(spec: FilterSpec) -> dict[str, Filter]:
    """What else OpenCV's filter may be guided by, with the same parameters."""
    return {
        OURS: GuidedFilter(spec),
        "by all three together": lambda frame: _guided_by(frame, frame, spec),
        "by their grey": lambda frame: _guided_by(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), frame, spec),
    }


def _guided_by(guide: Pixels, frame: Pixels, spec: FilterSpec) -> Pixels:
    return np.asarray(cv2.ximgproc.guidedFilter(guide, frame, spec.radius, spec.variance), dtype=np.uint8)


def grid(every: int) -> Table:
    """A row a parameter pair, a column a noise."""
    clean = [frame for frame, _ in frames(every)]
    table = Table("radius", "deviation", *(f"sigma {sigma}" for sigma in SIGMAS), title=f"dB, {len(clean)} frames")
    specs = [FilterSpec(radius, deviation) for radius, deviation in product(RADII, DEVIATIONS)]
    rows: list[tuple[str, str, Filter]] = [("–", "–", lambda frame: frame)]
    rows += [(str(spec.radius), str(spec.deviation), GuidedFilter(spec)) for spec in specs]
    for radius, deviation, denoise in rows:
        table.add_row(radius, deviation, *(_mean_decibels(denoise, clean, sigma) for sigma in SIGMAS))
    return table


def _mean_decibels(denoise: Filter, clean: list[Pixels], sigma: float) -> str:
    found = [decibels(denoise(noisy(frame, sigma, seed)), frame) for seed, frame in enumerate(clean)]
    return f"{np.mean(found):.2f}"


def answers(model: Artefact, every: int) -> Table:
    """A row a filter; for each noise the ratio and how many top-1 answers are right."""
    classify, spec = OpenVinoClassifier(model), model.card.transform
    ways: dict[str, Filter] = {NOTHING: lambda frame: frame, **guides(FilterSpec())}
    ratios: dict[tuple[str, int], list[float]] = {key: [] for key in product(ways, SIGMAS)}
    right = dict.fromkeys(ratios, 0)
    for seed, (clean, index) in enumerate(frames(every)):
        for sigma in SIGMAS:
            frame = noisy(clean, sigma, seed)
            for way, denoise in ways.items():
                seen = denoise(frame)
                ratios[way, sigma].append(decibels(seen, clean))
                right[way, sigma] += int(classify(to_pixels(_png(seen), spec)[None])[0].argmax()) == index
    count = len(ratios[NOTHING, 0])
    table = Table(
        "", *(f"sigma {sigma}" for sigma in SIGMAS), title=f"dB and right answers of {count}, {model.variant}"
    )
    for way in ways:
        table.add_row(way, *(f"{np.mean(ratios[way, sigma]):.2f}, {right[way, sigma]}" for sigma in SIGMAS))
    return table


def _png(frame: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def chosen(name: str) -> Artefact:
    """The model in fp32; ends the program with the command that makes it, where it is not there."""
    models = ROOT / (os.environ.get("NINEFOLD_MODELS_DIR") or "models")
    found = ArtefactStore(models).get(Variant(name, "fp32"))
    return found or sys.exit(f"bench: build the model first: ninefold models build {name}")


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grid", action="store_true", help="choose the parameters instead")
    parser.add_argument("--model", default="efficientnet_lite0")
    parser.add_argument("--every", type=int, default=1, help="only every so many photographs")
    given = parser.parse_args()
    Console(width=110).print(grid(given.every) if given.grid else answers(chosen(given.model), given.every))


if __name__ == "__main__":
    main()
