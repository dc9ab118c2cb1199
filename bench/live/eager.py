"""The other side: torch in eager mode behind OpenCV's preprocessing, as everyone writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch

from bench.live.frames import MARGIN, MOST_CROPS
from bench.servers import ROOT
from contract.transform import Pixels, TransformSpec
from inference.catalogue import BY_NAME
from inference.detectors import DETECTORS_BY_NAME
from inference.filters import FilterSpec
from inference.torch_classifier import Normalised
from modelzoo.detector_networks import load_network
from modelzoo.networks import build_network
from modelzoo.weights import obtain

Answer = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Eager:
    """A network that wants normalised float32[N,3,S,S], and how pictures become that."""

    network: torch.nn.Module
    spec: TransformSpec
    device: torch.device

    def tensor(self, rgb: Pixels) -> Answer:
        """uint8[H,W,3] → float32[3,S,S]."""
        spec = self.spec
        if spec.whole:
            cut = cv2.resize(rgb, (spec.crop, spec.crop), interpolation=cv2.INTER_LINEAR)
        else:
            height, width = rgb.shape[:2]
            scale = spec.resize / min(height, width)
            resized = cv2.resize(rgb, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
            top, left = (resized.shape[0] - spec.crop) // 2, (resized.shape[1] - spec.crop) // 2
            cut = resized[top : top + spec.crop, left : left + spec.crop]
        scaled = (cut.astype(np.float32) / 255 - np.float32(spec.mean)) / np.float32(spec.std)
        return np.asarray(scaled.transpose(2, 0, 1), dtype=np.float32)

    def answer(self, pictures: list[Pixels]) -> Answer:
        """What the network says to them as one batch."""
        batch = torch.from_numpy(np.stack([self.tensor(each) for each in pictures])).to(self.device)
        with torch.inference_mode():
            return np.asarray(self.network(batch).float().cpu().numpy())


def classifier(name: str, device: torch.device) -> Eager:
    """A model of the catalogue."""
    model = BY_NAME[name]
    network = build_network(model, obtain(model, None, ROOT / "models" / ".downloads"))
    return _eager(network, model.transform, device)


def detector(name: str, device: torch.device) -> Eager:
    """A detector with random weights, the same that its artefact was made of."""
    found = DETECTORS_BY_NAME[name]
    return _eager(load_network(found, None).module, found.transform, device)


def classify(network: Eager, denoise: bool) -> Callable[[bytes], Answer]:
    """A frame's bytes to float32[1,C]."""
    return lambda data: network.answer([decode(data, denoise)])


def detect(network: Eager, denoise: bool) -> Callable[[bytes], Answer]:
    """A frame's bytes to float32[1,Q,6]."""
    return lambda data: network.answer([decode(data, denoise)])


def detect_and_classify(boxes: Eager, classes: Eager, denoise: bool) -> Callable[[bytes], Answer]:
    """A frame's bytes to the logits of the surest boxes, float32[N,C]."""

    def look(data: bytes) -> Answer:
        rgb = decode(data, denoise)
        surest = boxes.answer([rgb])[0, :MOST_CROPS, :4]
        return classes.answer([_cut(rgb, box) for box in surest])

    return look


def decode(data: bytes, denoise: bool) -> Pixels:
    """By OpenCV; denoised by its guided filter."""
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    rgb = np.asarray(cv2.cvtColor(np.asarray(bgr), cv2.COLOR_BGR2RGB), dtype=np.uint8)
    if not denoise:
        return rgb
    spec = FilterSpec()
    channels = [cv2.ximgproc.guidedFilter(each, each, spec.radius, spec.variance) for each in cv2.split(rgb)]
    return np.asarray(cv2.merge(channels), dtype=np.uint8)


def _cut(rgb: Pixels, box: npt.NDArray[np.float32]) -> Pixels:
    size = np.array([rgb.shape[1], rgb.shape[0]])
    first, last = box[:2] * size, box[2:] * size
    wider = MARGIN * (last - first)
    left, top = np.clip(np.floor(first - wider), 0, size - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(last + wider), [left + 1, top + 1], size).astype(int).tolist()
    return rgb[top:bottom, left:right]


def _eager(module: Normalised, spec: TransformSpec, device: torch.device) -> Eager:
    return Eager(module.network.eval().to(device), spec, device)
