"""Every architecture, with random weights: built by the command, its logits torch's, and its int8 and fp16."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.catalogue import BY_NAME
from inference.classifier import check_golden, golden_pixels
from inference.ir import MODEL_NAME
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from modelzoo.build import probes_of
from modelzoo.networks import build_network
from modelzoo.photographs import bundled
from modelzoo.quantize import convert_to_fp16, quantize
from tests.artefacts import ZOO

SMALL = "mobilenet_v2-seeded"


def fp32(zoo_dir: Path, name: str) -> Artefact:
    artefact = ArtefactStore(zoo_dir).get(Variant(name, "fp32"))
    assert artefact is not None
    return artefact


def alone(artefact: Artefact, into: Path) -> ArtefactStore:
    """A folder of models with this fp32 artefact, to be written to."""
    shutil.copytree(artefact.folder, into / artefact.card.model / "fp32")
    return ArtefactStore(into)


@pytest.mark.parametrize("name", ZOO)
def test_logits_are_torchs_within_a_thousandth_of_what_pictures_make_of_them(name: str, zoo_dir: Path) -> None:
    """Of the spread from picture to picture: random weights have a large part that is the same for all of them."""
    artefact, model = fp32(zoo_dir, name), BY_NAME[name]
    pixels = np.concatenate([probes_of(model.transform)[:5], golden_pixels(artefact)])
    ours = OpenVinoClassifier(artefact)(pixels)
    theirs = TorchClassifier(build_network(model, None), model.transform)(pixels)
    spread = float(theirs.std(axis=0).mean())
    assert spread > 1e-3 * np.abs(theirs).max(), "the network hardly looks at the picture: nothing is compared"
    assert np.abs(ours - theirs).max() < 1e-3 * spread
    assert artefact.card.agreement.top1 == 1 and artefact.card.agreement.images >= 32
    assert artefact.card.transform == model.transform
    check_golden(artefact, ours[-1:])


def test_int8_is_made_of_depthwise_convolutions_at_another_transform_too(zoo_dir: Path, tmp_path: Path) -> None:
    source = fp32(zoo_dir, SMALL)
    made = quantize(BY_NAME[SMALL], alone(source, tmp_path), bundled(), calibration_crops=8, gate_crops=16)
    assert (made.card.agreement.images, made.card.computed_in) == (16, "f32")
    kinds = [node.get_type_name() for node in _network(made).get_ops()]
    assert kinds.count("FakeQuantize") > 20
    assert made.card.size_bytes < source.card.size_bytes / 3
    pixels = probes_of(source.card.transform)
    ours, theirs = OpenVinoClassifier(made)(pixels), OpenVinoClassifier(source)(pixels)
    # Random weights are no measure of int8's worth, but its logits must follow the picture as those of fp32 do (0.76
    # was seen; logits of other pictures give about 0).
    assert np.corrcoef((ours - ours.mean(axis=0)).ravel(), (theirs - theirs.mean(axis=0)).ravel())[0, 1] > 0.5
    check_golden(made, OpenVinoClassifier(made)(golden_pixels(made)))


def test_fp16_is_half_the_size_and_agrees_with_fp32(efficientnet: Artefact, tmp_path: Path) -> None:
    store = alone(efficientnet, tmp_path)
    made = convert_to_fp16(BY_NAME["efficientnet_lite0"], store, bundled(), gate_crops=32)
    assert store.precisions("efficientnet_lite0") == ["fp32", "fp16"]
    weights = [node for node in _network(made).get_ops() if node.get_type_name() == "Constant" and node.shape]
    kinds = {node.get_element_type().to_string() for node in weights if np.prod(node.shape) > 1000}
    assert kinds & {"f16", "f32"} == {"f16"}
    assert 0.45 < made.card.size_bytes / efficientnet.card.size_bytes < 0.55
    agreement = made.card.agreement
    assert agreement.images == 32 and agreement.top1 >= 0.9
    assert 0 < agreement.max_logit_difference < 0.1
    assert "nncf" not in made.card.versions
    assert made.card.golden.predictions[0].label == "espresso"
    check_golden(made, OpenVinoClassifier(made)(golden_pixels(made)))


def test_the_card_of_fp16_says_what_it_was_really_computed_in(zoo_dir: Path, tmp_path: Path) -> None:
    made = convert_to_fp16(BY_NAME[SMALL], alone(fp32(zoo_dir, SMALL), tmp_path), bundled(), gate_crops=8)
    has_fp16 = "FP16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    assert made.card.computed_in == OpenVinoClassifier(made).computes_in == ("f16" if has_fp16 else "f32")
    kept = ArtefactStore(tmp_path).get(made.variant)
    assert kept is not None and kept.card.computed_in == made.card.computed_in


def _network(artefact: Artefact) -> ov.Model:
    return ov.Core().read_model(artefact.folder / MODEL_NAME)
