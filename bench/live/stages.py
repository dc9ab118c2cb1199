"""What each stage of a frame takes on a CPU, one frame at a time on one core, and what each choice there is worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import openvino as ov
from rich.table import Table

from bench.live.frames import MARGIN, MOST_CROPS
from bench.live.timing import Measured, Way, in_process
from bench.table import ran_on, ratios, spread
from contract.transform import Boxes, Pixels, crop_pixels, decode_rgb, rgb_to_pixels, to_pixels
from inference.artefacts import Artefact
from inference.classifier import Classifier, Logits, softmax
from inference.filters import Filter
from inference.ir import read_network
from inference.tracks import Tracks

Work = tuple[Callable[[Any], Any], Sequence[Any]]
"""What is done, and what it is done to by turns."""
Stages = dict[str, dict[str, Work]]
"""By stage, and then by way: the first is what the others are compared with."""


@dataclass(frozen=True)
class Parts:
    """What frames go through: artefacts with their engines."""

    detector: tuple[Artefact, Classifier]
    fp32: tuple[Artefact, Classifier]
    int8: tuple[Artefact, Classifier]
    denoise: Filter


class Batched:
    """A network for so many images a call, on one core; the engine has one an inference."""

    def __init__(self, artefact: Artefact, images: int) -> None:
        side = artefact.card.transform.crop
        core = ov.Core()
        network = read_network(core, artefact.folder)
        network.reshape([images, side, side, 3])
        options = {"NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"}
        self._request = core.compile_model(network, "CPU", options).create_infer_request()

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3], N as it was made for, to float32[N,C]."""
        return np.array(next(iter(self._request.infer([pixels]).values())))


def stages(parts: Parts, data: Sequence[bytes]) -> Stages:
    """All of them. The detector's surest boxes are the crops, whatever their scores: its weights may be random."""
    (boxer, detect), (namer, fp32), (_, int8) = parts.detector, parts.fp32, parts.int8
    squeezed, cut = boxer.card.transform, namer.card.transform

    def found(pixels: Pixels) -> Boxes:
        return detect(pixels)[0, :MOST_CROPS, :4]

    def crops(rgb: Pixels, boxes: Boxes) -> Pixels:
        return crop_pixels(rgb, boxes, MARGIN, cut)

    def decoded_once(data: bytes) -> tuple[Pixels, Pixels]:
        rgb = decode_rgb(data)
        return rgb_to_pixels(rgb, squeezed), crops(rgb, surest)

    def decoded_twice(data: bytes) -> tuple[Pixels, Pixels]:
        return rgb_to_pixels(decode_rgb(data), squeezed), crops(decode_rgb(data), surest)

    def filtered(data: bytes) -> Logits:
        return int8(rgb_to_pixels(parts.denoise(decode_rgb(data)), cut)[None])

    def before(data: bytes) -> list[Logits]:
        boxes = found(rgb_to_pixels(decode_rgb(data), squeezed)[None])
        return [fp32(each[None]) for each in crops(decode_rgb(data), boxes)]

    def now(data: bytes) -> Logits:
        rgb = decode_rgb(data)
        return int8(crops(rgb, found(rgb_to_pixels(rgb, squeezed)[None])))

    rgbs = [decode_rgb(each) for each in data]
    whole = [rgb_to_pixels(each, squeezed)[None] for each in rgbs]
    surest = found(whole[0])
    cuts = [crops(each, surest) for each in rgbs]
    batched = {name: Batched(one, len(surest)) for name, (one, _) in (("fp32", parts.fp32), ("int8", parts.int8))}
    tracks, named = Tracks(), softmax(fp32(cuts[0]))
    return {
        "decode, and pixels for both": {"a decoding for each": (decoded_twice, data), "one": (decoded_once, data)},
        "filter": {"": (parts.denoise, rgbs)},
        "pixels for the detector": {"": (lambda rgb: rgb_to_pixels(rgb, squeezed), rgbs)},
        "detect": {"fp32": (detect, whole)},
        "crops": {f"{len(surest)}": (lambda rgb: crops(rgb, surest), rgbs)},
        "classify the crops": {
            "one by one, fp32": (fp32, cuts),
            "as a batch, fp32": (batched["fp32"], cuts),
            "one by one, int8": (int8, cuts),
            "as a batch, int8": (batched["int8"], cuts),
        },
        "track": {"": (lambda _: tracks.update(surest, named), cuts)},
        "a frame, classify": {
            "fp32": (lambda data: fp32(to_pixels(data, cut)[None]), data),
            "int8": (lambda data: int8(to_pixels(data, cut)[None]), data),
            "int8, with the filter": (filtered, data),
        },
        "a frame, detect+classify": {"two decodings, fp32": (before, data), "one decoding, int8": (now, data)},
    }


def ways(made: Stages) -> dict[str, Way]:
    """Each of them by its stage and its name, one at a time."""
    return {key(stage, name): in_process(*work, 1) for stage, named in made.items() for name, work in named.items()}


def key(stage: str, name: str) -> str:
    """What a way of a stage is called in figures."""
    return f"{stage}: {name}"


def show(made: Stages, found: Mapping[str, Sequence[Measured]]) -> Table:
    """A row a way; how many times as fast as the first of its stage it is, in the same round."""
    table = Table("stage", "", "median, ms", "processor, ms", "times as fast", title="a frame on CPU", caption=ran_on())
    for stage, named in made.items():
        times = {name: [each.processor_ms for each in found[key(stage, name)]] for name in named}
        first = next(iter(times))
        for name, taken in times.items():
            medians = spread([each.ms(0.5) for each in found[key(stage, name)]], 1)
            faster = "" if name == first else spread(ratios(times[first], taken), 2)
            table.add_row(stage if name == first else "", name, medians, spread(taken, 1), faster)
        table.add_section()
    return table
