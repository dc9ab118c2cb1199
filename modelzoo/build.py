"""From a catalogue entry to a published artefact, measured against the torch reference on the way."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from contract.transform import Pixels, TransformSpec, to_pixels
from inference.artefacts import Artefact, ArtefactStore, Variant, sha256_of
from inference.card import Agreement, Card, Expected, FileEntry, Golden, Origin
from inference.catalogue import Model
from inference.classifier import Classifier, check_golden, golden_pixels, softmax, top_k
from inference.devices import is_cuda
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from modelzoo.convert import write_ir
from modelzoo.networks import build_network, imagenet_labels
from modelzoo.programs import judged_on_torch, write_program
from modelzoo.weights import Weights, obtain

GOLDEN = Path(__file__).parent / "golden.jpg"
TOLERANCE = 1e-3
"""How far the golden image's top-1 probability may be off in fp32."""

PROBES = 32
"""How many crops of the golden image an artefact is compared on."""

REFERENCE = "torch, float32"

Say = Callable[[str], None]


def build(
    model: Model, store: ArtefactStore, local: Path | None = None, say: Say = lambda _: None, device: str = "CPU"
) -> Artefact:
    """Builds the fp32 artefact of `model` and publishes it; for CUDA with a program for torch.

    Raises WeightsMissing, WrongWeights, WrongAnswer.
    """
    weights = obtain(model, local, store.root / ".downloads")
    say(f"Loading {model.title} …")
    network = build_network(model, weights)
    reference = TorchClassifier(network, model.transform)

    def write(folder: Path) -> None:
        say("Converting it to OpenVINO (about ten seconds) …")
        write_ir(network, model.transform.crop, folder)
        if is_cuda(device):
            say("Exporting it for torch (some seconds) …")
            write_program(network, model.transform.crop, folder)
        (folder / GOLDEN.name).write_bytes(GOLDEN.read_bytes())
        artefact = Artefact(folder, card_of(model, weights, reference, folder))
        say("Measuring it against the torch reference …")
        classifier = OpenVinoClassifier(artefact)
        check_golden(artefact, classifier(golden_pixels(artefact)))
        if is_cuda(device):
            check_golden(artefact, judged_on_torch(artefact)(golden_pixels(artefact)))
        replace(artefact.card, agreement=agreement_with(reference, classifier, model.transform)).write(folder)

    return store.publish(Variant(model.name, "fp32"), write)


def card_of(model: Model, weights: Weights | None, reference: Classifier, folder: Path) -> Card:
    """The card of the files in `folder`, made of these weights in fp32; its agreement is still to be measured."""
    labels = imagenet_labels()
    return Card(
        model=model.name,
        title=model.title,
        precision="fp32",
        origin=_origin(model, weights),
        transform=model.transform,
        labels=labels,
        files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(folder.iterdir())},
        agreement=Agreement(REFERENCE, images=0, top1=0.0, max_logit_difference=0.0, max_probability_difference=0.0),
        golden=_golden(reference, model.transform, labels),
        versions={name: version(name) for name in ("torch", "torchvision", "openvino", "numpy", "pillow")}
        | {"python": platform.python_version()},
        built_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _origin(model: Model, weights: Weights | None) -> Origin:
    if weights is None:
        return Origin(model.source.kind, model.source.weights, sha256="", licence=model.source.licence)
    return Origin(model.source.kind, weights.place, weights.sha256, model.source.licence)


def _golden(reference: Classifier, spec: TransformSpec, labels: tuple[str, ...]) -> Golden:
    logits = reference(to_pixels(GOLDEN.read_bytes(), spec)[None])[0]
    expected = tuple(Expected(**asdict(prediction)) for prediction in top_k(logits, labels, 5))
    return Golden(GOLDEN.name, expected, TOLERANCE)


def agreement_with(reference: Classifier, candidate: Classifier, spec: TransformSpec) -> Agreement:
    """How close `candidate` is to the torch reference on the probes."""
    probes = probes_of(spec)
    ours, theirs = candidate(probes), reference(probes)
    return Agreement(
        reference=REFERENCE,
        images=len(probes),
        top1=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        max_logit_difference=_largest_difference(ours, theirs),
        max_probability_difference=_largest_difference(softmax(ours), softmax(theirs)),
    )


def _largest_difference(ours: npt.NDArray[Any], theirs: npt.NDArray[Any]) -> float:
    return float(np.abs(ours - theirs).max())


def probes_of(spec: TransformSpec) -> Pixels:
    """Crops of the golden image at fixed random places, of fixed random sizes: uint8[PROBES,H,W,3]."""
    random = np.random.default_rng(0)
    with Image.open(GOLDEN) as opened:
        picture = opened.convert("RGB")
    crops = []
    for _ in range(PROBES):
        side = int(random.integers(spec.crop // 2, min(picture.size)))
        left, top = (int(random.integers(0, length - side + 1)) for length in picture.size)
        crops.append(picture.resize((spec.crop, spec.crop), box=(left, top, left + side, top + side)))
    return np.stack([np.asarray(crop, dtype=np.uint8) for crop in crops])
