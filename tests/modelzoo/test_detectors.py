"""Detectors built for real from tiny networks: the artefact against torch, and weights from folders and a hub."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForObjectDetection, DetrImageProcessor, RTDetrImageProcessor
from transformers.models.detr.modeling_detr import DetrObjectDetectionOutput

from inference.artefacts import Artefact, ArtefactStore, sha256_of
from inference.boxes import SCORE, check_golden_boxes, detections, match
from inference.classifier import golden_pixels
from inference.detectors import DETECTORS_BY_NAME, Detector, HubSource
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from modelzoo.detector_networks import Detecting, coco_labels, load_network
from modelzoo.detectors import build_detector, probes_of
from modelzoo.weights import WeightsMissing, WrongWeights
from tests.detectors import TINY_DETR, TINY_RTDETR
from tests.servers import ROOT

TINY = {"rt_detr": TINY_RTDETR, "detr": TINY_DETR}
REPOSITORY, REVISION = "someone/tiny", "0123456789abcdef0123456789abcdef01234567"


def published(tiny: Detector) -> Detector:
    """The tiny detector as one whose weights lie on the hub."""
    return replace(tiny, name="rtdetr_r18", source=HubSource("hub", REPOSITORY, REVISION, "Apache-2.0"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ArtefactStore:
    return ArtefactStore(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny RT-DETR as `save_pretrained` writes it."""
    place = tmp_path_factory.mktemp("saved")
    load_network(TINY_RTDETR, None).module.network.network.save_pretrained(place)
    return place


@pytest.fixture(scope="module", params=list(TINY))
def built(request: pytest.FixtureRequest, store: ArtefactStore, folder: Path) -> tuple[Detector, Artefact]:
    """RT-DETR of what was saved, DETR of its seed: a build takes the better part of ten seconds."""
    if request.param == "detr":
        return TINY_DETR, build_detector(TINY_DETR, store)
    return TINY_RTDETR, build_detector(published(TINY_RTDETR), store, folder)


def test_the_artefact_finds_what_torch_finds(built: tuple[Detector, Artefact]) -> None:
    """torch has the seeded weights: those from the folder are the ones that were saved."""
    detector, artefact = built
    reference = TorchClassifier(load_network(detector, None).module, detector.transform)
    ours, frames = OpenVinoClassifier(artefact), probes_of(detector.transform)
    answers = ours(frames)
    assert answers.shape == (8, artefact.card.boxes, 6)
    for frame, answer in zip(frames, answers, strict=True):
        found = match(answer, reference(frame[None])[0], best=10)
        assert found.found == 1.0 and found.edge_difference < 1e-3 and found.score_difference < 1e-4
    assert answers.std(axis=0).max() > 0, "frames must not all have the same answer"
    assert artefact.card.agreement.top1 == 1.0 and artefact.card.agreement.images == 8


def test_an_answer_is_sorted_and_in_bounds(built: tuple[Detector, Artefact]) -> None:
    _, artefact = built
    for answer in OpenVinoClassifier(artefact)(probes_of(artefact.card.transform)):
        assert (np.diff(answer[:, SCORE]) <= 0).all() and (answer[:, :4] >= 0).all() and (answer[:, :4] <= 1).all()
        assert ((answer[:, 4] % 1) == 0).all() and detections(answer, artefact.card.labels, least=0.0)


def test_the_card_tells_weights_boxes_and_golden_box(built: tuple[Detector, Artefact], folder: Path) -> None:
    detector, artefact = built
    card = artefact.card
    saved = ("folder", sha256_of(folder / "model.safetensors"))
    assert (card.origin.kind, card.origin.sha256) == (("seeded", "") if detector is TINY_DETR else saved)
    assert card.boxes == detector.settings["num_queries"] and card.transform.whole
    assert card.labels == tuple(f"class {number}" for number in range(7)) and "transformers" in card.versions
    assert card.golden.predictions[0].box is not None
    check_golden_boxes(artefact, OpenVinoClassifier(artefact)(golden_pixels(artefact)))


@pytest.mark.parametrize("architecture", list(TINY))
def test_boxes_are_those_of_transformers_own_post_processing(architecture: str) -> None:
    torch.manual_seed(0)
    output = DetrObjectDetectionOutput(logits=torch.randn(2, 12, 8) * 3, pred_boxes=torch.rand(2, 12, 4) / 2 + 0.25)

    class Fixed(torch.nn.Module):
        def forward(self, pixel_values: torch.Tensor) -> DetrObjectDetectionOutput:
            return output

    ours = Detecting(Fixed(), sigmoid=architecture == "rt_detr")(torch.zeros(2, 3, 4, 4))
    processor = RTDetrImageProcessor() if architecture == "rt_detr" else DetrImageProcessor()
    for answer, theirs in zip(ours, processor.post_process_object_detection(output, threshold=0.0), strict=True):
        order = theirs["scores"].argsort(descending=True, stable=True)
        assert torch.equal(answer[:, 5], theirs["scores"][order])
        assert torch.equal(answer[:, 4].long(), theirs["labels"][order])
        assert torch.allclose(answer[:, :4], theirs["boxes"][order].clamp(0, 1))


def test_a_folder_of_something_else_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongWeights, match=r"is rt_detr, not DETR"):
        load_network(published(TINY_DETR), folder)
    with pytest.raises(WeightsMissing, match=r"there is no .*config\.json"):
        load_network(published(TINY_RTDETR), tmp_path)


def test_weights_that_lack_a_tensor_are_refused_and_not_filled_up_with_random_ones(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.enc_score_head.weight"]
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongWeights, match=r"lack 1 tensors, model\.enc_score_head\.weight"):
        load_network(published(TINY_RTDETR), tmp_path)


def test_a_tensor_of_another_shape_is_refused_in_words(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.enc_score_head.weight"] = tensors["model.enc_score_head.weight"][:-1].clone()
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(WrongWeights, match="cannot read the weights"):
        load_network(published(TINY_RTDETR), tmp_path)


def test_a_damaged_file_is_refused(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(WrongWeights, match="cannot read the weights"):
        load_network(published(TINY_RTDETR), tmp_path)


def test_twins_are_as_large_as_the_published_weights() -> None:
    """80.9 MB and 167 MB are the sizes of the two files on the hub."""
    for name, megabytes in (("rtdetr_r18", 80.9), ("detr_resnet50", 167)):
        detector = DETECTORS_BY_NAME[name]
        with torch.device("meta"):
            network = AutoModelForObjectDetection.from_config(
                AutoConfig.for_model(detector.architecture, **detector.settings)
            )
        size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        assert size / 1e6 == pytest.approx(megabytes, rel=0.01), name


def test_cocos_names_are_counted_as_both_networks_do() -> None:
    assert len(coco_labels(80)) == 80 and coco_labels(80)[:2] == ("person", "bicycle") and "N/A" not in coco_labels(80)
    assert coco_labels(91)[1] == "person" and coco_labels(91)[47] == "cup" and coco_labels(80)[41] == "cup"


BY_THE_HUB = """
import json, os, shutil, sys, time
from pathlib import Path
from tests.hub import FakeHub

folder, home, repository, revision = Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]
hub = FakeHub(folder, repository, revision)
os.environ.update(HF_ENDPOINT=hub.url, HF_HOME=str(home))
from modelzoo.detector_networks import load_network
from modelzoo.weights import WeightsMissing
from tests.detectors import TINY_RTDETR
from tests.modelzoo.test_detectors import published

origins = [load_network(published(TINY_RTDETR), None).origin]
asked = len(hub.requests)
origins.append(load_network(published(TINY_RTDETR), None).origin)
asked_again = len(hub.requests) - asked
hub.stop()
shutil.rmtree(home)
try:
    load_network(published(TINY_RTDETR), None)
except WeightsMissing as error:
    why = str(error)
print(json.dumps({"origins": [vars(one) for one in origins], "asked": asked, "again": asked_again, "why": why}))
"""


def test_weights_come_from_the_hub_once_and_a_hub_that_is_not_there_is_told(folder: Path, tmp_path: Path) -> None:
    """The hub's address is read when its library is imported, so this is a process of its own."""
    given = [str(folder), str(tmp_path / "home"), REPOSITORY, REVISION]
    done = subprocess.run(
        [sys.executable, "-c", BY_THE_HUB, *given],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    expected = {
        "kind": "hub",
        "place": f"{REPOSITORY} at {REVISION}",
        "sha256": sha256_of(folder / "model.safetensors"),
        "licence": "Apache-2.0",
    }
    assert told["origins"] == [expected, expected]
    assert told["asked"] > 0 and told["again"] == 0
    assert "cannot be reached (Connection refused)" in told["why"]
