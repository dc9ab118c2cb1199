"""fp32 → int8 by NNCF's post-training quantisation, judged on pictures that it was not calibrated on; → fp16, bf16.

For CUDA: fp32 → fp16 or bf16, of which only the measuring is done here.

    fp32 artefact --calibrate on crops--> 8-bit weights and activations --compare with fp32 on other crops--> card

Weights are quantised per channel and kept to 7 of their 8 bits: without VNNI a processor adds two products in 16 bits,
and with all 8 that overflows. So the answers are the same on every processor, and hold on the oldest.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import openvino as ov

from contract.transform import Pixels
from inference.artefacts import Artefact, ArtefactStore, Variant, sha256_of
from inference.card import Agreement, FileEntry
from inference.catalogue import Model
from inference.choice import ModelMissing
from inference.classifier import Classifier, Logits, golden_pixels, softmax
from inference.devices import PROGRAM_NAME
from inference.ir import MODEL_NAME
from inference.openvino_classifier import OpenVinoClassifier, has_bf16
from modelzoo.build import Say
from modelzoo.derived import fp32_of, golden_of
from modelzoo.photographs import CALIBRATION_CROPS, GATE_CROPS, Photographs, crops
from modelzoo.programs import judged_on_torch
from modelzoo.save import save_ir

_LEAST_TO_CALIBRATE, _LEAST_TO_JUDGE = 0.08, 0.35


def quantize(
    model: Model,
    store: ArtefactStore,
    photographs: Photographs,
    say: Say = lambda _: None,
    calibration_crops: int = CALIBRATION_CROPS,
    gate_crops: int = GATE_CROPS,
) -> Artefact:
    """Makes int8 of the fp32 artefact and publishes it with the agreement that was measured, good enough or not.

    Raises ModelMissing, NoPhotographs or WrongAnswer.
    """
    source = fp32_of(store, model)
    spec = source.card.transform
    used = min(calibration_crops, len(photographs.calibration))
    about = f"{calibration_crops} crops of {used} {photographs.source}"
    say(f"Calibrating int8 on {about} …")
    sample = crops(photographs.calibration, calibration_crops, spec, least=_LEAST_TO_CALIBRATE, seed=0)
    network = quantized(source, sample, model.float_layers)
    say(f"Comparing it with fp32 on {gate_crops} crops of {min(gate_crops, len(photographs.gate))} others …")
    judged = crops(photographs.gate, gate_crops, spec, least=_LEAST_TO_JUDGE, seed=1)
    return _publish(store, source, "int8", lambda folder: save_ir(network, folder / MODEL_NAME), judged, about)


def convert_to_fp16(
    model: Model,
    store: ArtefactStore,
    photographs: Photographs,
    say: Say = lambda _: None,
    gate_crops: int = GATE_CROPS,
) -> Artefact:
    """The same network with its weights in float16: half the size. Raises as `quantize`.

    A processor that has fp16 arithmetic computes in it; any other computes in float32, and is not faster for it.
    """
    source = fp32_of(store, model)
    network = ov.Core().read_model(source.folder / MODEL_NAME)
    judged = _to_compare("fp16", source, photographs, gate_crops, say)
    return _publish(
        store, source, "fp16", lambda folder: save_ir(network, folder / MODEL_NAME, fp16=True), judged, None
    )


def convert_to_bf16(
    model: Model,
    store: ArtefactStore,
    photographs: Photographs,
    say: Say = lambda _: None,
    gate_crops: int = GATE_CROPS,
) -> Artefact:
    """The same network, computed in bfloat16, for a processor that has it in hardware. Raises as `quantize`."""
    source = fp32_of(store, model)
    if not has_bf16():
        raise ModelMissing("bf16 is for processors that compute it in hardware (AVX512-BF16, AMX); this one does not.")
    judged = _to_compare("bf16", source, photographs, gate_crops, say)

    def write(folder: Path) -> None:
        for name in (MODEL_NAME, Path(MODEL_NAME).with_suffix(".bin").name):
            (folder / name).hardlink_to(source.folder / name)

    return _publish(store, source, "bf16", write, judged, None)


def lower_for_cuda(
    model: Model,
    store: ArtefactStore,
    photographs: Photographs,
    say: Say = lambda _: None,
    precision: str = "fp16",
    gate_crops: int = GATE_CROPS,
) -> Artefact:
    """The same program, to be cast to fp16 or bf16 by a server on CUDA; with the agreement that was measured.

    Raises as `quantize`.
    """
    source = fp32_of(store, model)
    if PROGRAM_NAME not in source.card.files:
        raise ModelMissing(
            f"{model.name} has no program for torch yet. "
            f"The command `ninefold models build {model.name} --device CUDA` adds it."
        )
    judged = _to_compare(precision, source, photographs, gate_crops, say)

    def write(folder: Path) -> None:
        (folder / PROGRAM_NAME).hardlink_to(source.folder / PROGRAM_NAME)

    return _publish(store, source, precision, write, judged, None, judged_on_torch)


Maker = Callable[[Model, ArtefactStore, Photographs, Say], Artefact]
MAKERS: Mapping[str, Maker] = {"int8": quantize, "fp16": convert_to_fp16, "bf16": convert_to_bf16}
MAKERS_FOR_CUDA: Mapping[str, Maker] = {
    "int8": quantize,
    "fp16": partial(lower_for_cuda, precision="fp16"),
    "bf16": partial(lower_for_cuda, precision="bf16"),
}


def _to_compare(precision: str, source: Artefact, photographs: Photographs, count: int, say: Say) -> Pixels:
    say(f"Comparing {precision} with fp32 on {count} crops …")
    return crops(photographs.gate, count, source.card.transform, least=_LEAST_TO_JUDGE, seed=1)


def quantized(source: Artefact, sample: Pixels, float_layers: tuple[int, ...]) -> ov.Model:
    """The network in 8 bits, for any batch size; `float_layers`: convolutions that are left as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch").setLevel(logging.ERROR)  # or it says that there is no CUDA
        import nncf  # noqa: PLC0415  # it takes seconds, and looks for torch
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters  # noqa: PLC0415

        nncf.set_log_level(logging.ERROR)
        network = ov.Core().read_model(source.folder / MODEL_NAME)
        network.reshape([1, *sample.shape[1:]])
        convolutions = [
            node.get_friendly_name()
            for node in network.get_ordered_ops()
            if node.get_type_name() in ("Convolution", "GroupConvolution")
        ]
        made: ov.Model = nncf.quantize(
            network,
            nncf.Dataset([image[None] for image in sample]),
            subset_size=len(sample),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(names=[convolutions[place] for place in float_layers]),
            advanced_parameters=AdvancedQuantizationParameters(overflow_fix=nncf.OverflowFix.ENABLE),
        )
        made.reshape([-1, *sample.shape[1:]])
        return made


def _publish(
    store: ArtefactStore,
    source: Artefact,
    precision: str,
    write_network: Callable[[Path], None],
    judged: Pixels,
    calibration: str | None,
    load: Callable[[Artefact], Classifier] = OpenVinoClassifier,
) -> Artefact:
    packages = ("openvino", "nncf") if calibration else ("openvino",)

    def write(folder: Path) -> None:
        write_network(folder)
        golden = source.card.golden
        (folder / golden.image).write_bytes(source.golden_image)
        card = replace(
            source.card,
            precision=precision,
            files={path.name: FileEntry(path.stat().st_size, sha256_of(path)) for path in sorted(folder.iterdir())},
            versions=source.card.versions | {name: version(name) for name in packages},
            built_at=datetime.now(UTC).isoformat(timespec="seconds"),
            calibration=calibration,
        )
        artefact = Artefact(folder, card)
        candidate, reference = load(artefact), OpenVinoClassifier(source)
        golden = golden_of(artefact, candidate(golden_pixels(artefact))[0])
        agreement = _agreement(reference, candidate, judged)
        computed_in = candidate.computes_in if isinstance(candidate, OpenVinoClassifier) else None
        replace(card, golden=golden, agreement=agreement, computed_in=computed_in).write(folder)

    return store.publish(Variant(source.card.model, precision), write)


def _agreement(reference: Classifier, candidate: Classifier, pixels: Pixels) -> Agreement:
    theirs, ours = _all(reference, pixels), _all(candidate, pixels)
    return Agreement(
        reference="OpenVINO, fp32",
        images=len(pixels),
        top1=float((ours.argmax(axis=1) == theirs.argmax(axis=1)).mean()),
        max_logit_difference=float(np.abs(ours - theirs).max()),
        max_probability_difference=float(np.abs(softmax(ours) - softmax(theirs)).max()),
    )


def _all(classifier: Classifier, pixels: Pixels) -> Logits:
    """On all streams at once: a call uses one of them."""
    with ThreadPoolExecutor() as pool:
        return np.concatenate(list(pool.map(classifier, np.array_split(pixels, max(len(pixels) // 10, 1)))))
