"""An artefact → OpenVINO IR that needs no card: labels, transform and origin lie in its rt_info.

`model_info` there is what OpenVINO's Model API reads. Its "crop" takes the whole middle square where our transform
takes the middle of that, so its pixels are near ours and not the same; `ninefold` there says ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino as ov

from contract.transform import Pixels
from inference.artefacts import Artefact, Variant
from inference.card import Agreement, Card
from inference.choice import ModelMissing, why_missing
from inference.classifier import Classifier, Logits, check_golden, golden_pixels, softmax
from inference.ir import MODEL_NAME, read_network
from modelzoo.export import INPUT, OUTPUT, Say, Wanted, judge, metadata
from modelzoo.save import save_ir

LOGITS = 1e-4
"""How far the file's logits may be from the artefact's: it is the same network."""


class FileClassifier:
    """A file as others run it: OpenVINO Runtime on the CPU, computing in float32, several images a call."""

    max_batch = 8
    memory_bytes = 0

    def __init__(self, network: Path | ov.Model) -> None:
        self._network = ov.Core().compile_model(network, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C]."""
        parts = [pixels[start : start + self.max_batch] for start in range(0, len(pixels), self.max_batch)]
        return np.concatenate([self._network([part])[0] for part in parts])


def write(wanted: Wanted, path: Path, say: Say) -> Card:
    """Writes the IR and holds it to the artefact. Raises ModelMissing, DamagedArtefact, BadCard, WrongAnswer."""
    artefact = _artefact(wanted)
    network = _read(artefact)
    network.inputs[0].tensor.set_names({INPUT})
    network.outputs[0].tensor.set_names({OUTPUT})
    ov.layout_helpers.set_layout(network.input(), ov.Layout("NHWC"))
    for section, values in (("model_info", model_info(artefact.card)), ("ninefold", metadata(artefact.card))):
        for name, value in values.items():
            network.set_rt_info(value, [section, name])
    save_ir(network, path)
    say("Comparing it with the artefact …")
    candidate = FileClassifier(path)
    check_golden(artefact, candidate(golden_pixels(artefact)))
    agreement = _agreement(artefact, FileClassifier(_read(artefact)), candidate)
    judge(agreement, logits=LOGITS)
    return replace(
        artefact.card, agreement=agreement, versions=artefact.card.versions | {"openvino": version("openvino")}
    )


def model_info(card: Card) -> Mapping[str, str]:
    """What OpenVINO's Model API reads; labels are separated by spaces there, so their own become underscores."""
    return {
        "model_type": "Classification",
        "labels": " ".join(label.replace(" ", "_") for label in card.labels),
        "resize_type": "crop",
        "reverse_input_channels": "False",  # it is to be given RGB
    }


def _artefact(wanted: Wanted) -> Artefact:
    name, store = wanted.model.name, wanted.store
    artefact = store.get(Variant(name, wanted.precision))
    if artefact is None:
        built = store.precisions(name)
        if not built:
            raise ModelMissing(f"{name} is not there: {why_missing(store, name)}")
        raise ModelMissing(f"{name} has not been built in {wanted.precision}; it is there in {', '.join(built)}")
    if MODEL_NAME not in artefact.card.files:
        raise ModelMissing(f"{name} is there in {wanted.precision} for another engine, and has no OpenVINO IR")
    artefact.verify()
    return artefact


def _read(artefact: Artefact) -> ov.Model:
    return read_network(ov.Core(), artefact.folder)


def _agreement(artefact: Artefact, reference: Classifier, candidate: Classifier) -> Agreement:
    pixels = golden_pixels(artefact)
    theirs, ours = reference(pixels), candidate(pixels)
    return Agreement(
        reference=f"the artefact, {artefact.card.precision}",
        images=len(pixels),
        top1=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        max_logit_difference=float(np.abs(ours - theirs).max()),
        max_probability_difference=float(np.abs(softmax(ours) - softmax(theirs)).max()),
    )
