"""From a detector of the catalogue to a published artefact, measured against the torch reference on the way.

For CUDA with a program for torch as well, as classifiers have it.
"""

from __future__ import annotations

import platform
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from contract.transform import Pixels, TransformSpec, to_pixels
from inference.artefacts import Artefact, ArtefactStore, Variant, sha256_of
from inference.boxes import check_golden_boxes, detections, match
from inference.card import Agreement, Card, Expected, FileEntry, Golden
from inference.classifier import Classifier, WrongAnswer, golden_pixels
from inference.detectors import Detector
from inference.devices import is_cuda
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from modelzoo.build import GOLDEN, REFERENCE, TOLERANCE, Say
from modelzoo.convert import write_ir
from modelzoo.detector_networks import DetectorNetwork, load_network
from modelzoo.programs import judged_on_torch, write_program

PROBES = 8
"""How many parts of the golden image an artefact is compared on, a frame each."""

BEST = 10
"""How many of a frame's boxes, the surest, must be found again."""

_NAMED_PACKAGES = ("torch", "torchvision", "transformers", "openvino", "numpy", "pillow")


def build_detector(
    detector: Detector,
    store: ArtefactStore,
    local: Path | None = None,
    say: Say = lambda _: None,
    device: str = "CPU",
) -> Artefact:
    """Builds the fp32 artefact of `detector` and publishes it. `local`: a folder as `save_pretrained` writes it.

    Raises WeightsMissing, WrongWeights, WrongAnswer.
    """
    say(f"Loading {detector.title} …")
    network = load_network(detector, local)
    reference = TorchClassifier(network.module, detector.transform)

    def write(folder: Path) -> None:
        say("Asking torch …")
        golden = _golden(reference, network, detector.transform)  # before the export: anchors are kept from it
        say("Converting it to OpenVINO (some ten seconds) …")
        write_ir(network.module, detector.transform.crop, folder, batched=False)
        if is_cuda(device):
            say("Exporting it for torch (some ten seconds) …")
            write_program(network.module, detector.transform.crop, folder)
        (folder / GOLDEN.name).write_bytes(GOLDEN.read_bytes())
        artefact = Artefact(folder, _card(detector, network, golden, folder))
        say("Measuring it against the torch reference …")
        ours = OpenVinoClassifier(artefact)
        check_golden_boxes(artefact, ours(golden_pixels(artefact)))
        if is_cuda(device):
            check_golden_boxes(artefact, judged_on_torch(artefact)(golden_pixels(artefact)))
        replace(artefact.card, agreement=agreement_with(reference, ours, detector.transform)).write(folder)

    return store.publish(Variant(detector.name, "fp32"), write)


def _card(detector: Detector, network: DetectorNetwork, golden: Golden, folder: Path) -> Card:
    """The card of the files in `folder`; its agreement is still to be measured."""
    return Card(
        model=detector.name,
        title=detector.title,
        precision="fp32",
        origin=network.origin,
        transform=detector.transform,
        labels=network.labels,
        files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(folder.iterdir())},
        agreement=Agreement(REFERENCE, images=0, top1=0.0, max_logit_difference=0.0, max_probability_difference=0.0),
        golden=golden,
        versions={name: version(name) for name in _NAMED_PACKAGES} | {"python": platform.python_version()},
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
        boxes=network.boxes,
    )


def _golden(reference: Classifier, network: DetectorNetwork, spec: TransformSpec) -> Golden:
    answer = reference(to_pixels(GOLDEN.read_bytes(), spec)[None])[0]
    found = detections(answer, network.labels, least=0.0, most=5)
    if not found:
        raise WrongAnswer("torch finds nothing at all on the golden image")
    return Golden(GOLDEN.name, tuple(Expected(one.label, one.index, one.score, one.box) for one in found), TOLERANCE)


def agreement_with(reference: Classifier, candidate: Classifier, spec: TransformSpec) -> Agreement:
    """How many of the reference's surest boxes `candidate` finds on the probes, and how far off its scores are."""
    matches = [match(candidate(frame[None])[0], reference(frame[None])[0], BEST) for frame in probes_of(spec)]
    return Agreement(
        reference=REFERENCE,
        images=len(matches),
        top1=float(np.mean([one.found for one in matches])),
        max_logit_difference=max(one.logit_difference for one in matches),
        max_probability_difference=max(one.score_difference for one in matches),
    )


def probes_of(spec: TransformSpec) -> Pixels:
    """Parts of the golden image at fixed random places, of fixed random shapes, as frames: uint8[PROBES,H,W,3]."""
    random = np.random.default_rng(0)
    with Image.open(GOLDEN) as opened:
        picture = opened.convert("RGB")
    frames = []
    for _ in range(PROBES):
        width, height = (int(random.integers(length // 3, length)) for length in picture.size)
        left, top = (
            int(random.integers(0, most - part + 1)) for most, part in zip(picture.size, (width, height), strict=True)
        )
        part = picture.resize((spec.crop, spec.crop), box=(left, top, left + width, top + height))
        frames.append(np.asarray(part, dtype=np.uint8))
    return np.stack(frames)
