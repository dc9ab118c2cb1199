"""Detectors as programs for torch: what a CUDA device would be given, run on a CPU behind the same seam."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.batched_classifier import BatchedClassifier
from inference.boxes import check_golden_boxes, match
from inference.choice import ModelMissing
from inference.classifier import golden_pixels
from inference.detectors import resolve_detector
from inference.devices import PROGRAM_NAME
from inference.openvino_classifier import OpenVinoClassifier
from inference.torch_classifier import TorchClassifier
from inference.torch_runners import load_on_torch, load_program
from modelzoo.detector_networks import load_network
from modelzoo.detectors import build_detector, probes_of
from modelzoo.programs import write_program
from tests.detectors import SIDE, TINY_DETR, TINY_RTDETR

CPU, META = torch.device("cpu"), torch.device("meta")
QUERIES = TINY_RTDETR.settings["num_queries"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Artefact:
    return build_detector(TINY_RTDETR, ArtefactStore(tmp_path_factory.mktemp("models")), device="CUDA")


@pytest.fixture(scope="module")
def loaded(built: Artefact) -> BatchedClassifier:
    return load_on_torch(built, CPU, runners=2, sizes=(1, 2, 4))


@pytest.mark.parametrize("count", [1, 3, 8])
def test_any_number_of_frames_get_the_boxes_of_the_openvino_graph(
    built: Artefact, loaded: BatchedClassifier, count: int
) -> None:
    frames = probes_of(TINY_RTDETR.transform)[:count]
    ours, theirs = loaded(frames), OpenVinoClassifier(built)(frames)
    assert ours.shape == (count, QUERIES, 6) and ours.dtype == np.float32
    for one, other in zip(ours, theirs, strict=True):
        found = match(one, other, best=QUERIES)
        assert found.found == 1.0 and found.edge_difference < 1e-3 and found.score_difference < 1e-4
    assert count == 1 or ours.std(axis=0).max() > 0.01, "frames must not all have the same answer"


def test_the_golden_image_gets_its_boxes(built: Artefact, loaded: BatchedClassifier) -> None:
    check_golden_boxes(built, loaded(golden_pixels(built)))


def test_frames_are_staged_for_sixteen_cameras_and_not_for_128_images(loaded: BatchedClassifier) -> None:
    weights, staged = 1.0e6, 2 * 16 * SIDE * SIDE * 3
    assert staged < loaded.memory_bytes < staged + weights


def test_detr_is_exported_for_any_number_of_frames_as_well(tmp_path: Path) -> None:
    network, frames = load_network(TINY_DETR, None).module, probes_of(TINY_DETR.transform)[:3]
    expected = TorchClassifier(network, TINY_DETR.transform)(frames)
    write_program(network, SIDE, tmp_path)
    program = torch.export.load(tmp_path / PROGRAM_NAME).module()
    images = (torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 255 - network.mean) / network.std
    with torch.inference_mode():
        assert np.abs(program(images).numpy() - expected).max() < 1e-4


class Places(torch.fx.Interpreter):
    """Runs a program, and notes whatever is not where it should be."""

    def __init__(self, program: torch.fx.GraphModule, device: torch.device) -> None:
        super().__init__(program)
        self.elsewhere: list[str] = []
        self._device = device

    def run_node(self, n: torch.fx.Node) -> Any:
        value = super().run_node(n)
        for each in value if isinstance(value, tuple | list) else [value]:
            if isinstance(each, torch.Tensor) and each.device.type != self._device.type:
                self.elsewhere.append(str(n))
        return value


def test_all_of_it_is_moved_to_a_device_and_nothing_is_asked_back(built: Artefact) -> None:
    """A CUDA graph takes neither copies from the processor nor shapes and numbers that depend on what was computed.

    The device without memory, which every torch has, refuses to tell those, too.
    """
    run = Places(load_program(built, META), META)
    with torch.inference_mode():
        answer = run.run(torch.zeros(3, 3, SIDE, SIDE, device=META))
    assert tuple(answer.shape) == (3, QUERIES, 6) and run.elsewhere == []


def test_one_without_a_program_is_missing_on_cuda_with_the_command_that_adds_it(
    built: Artefact, tmp_path: Path
) -> None:
    name, store = "rtdetr_r18", ArtefactStore(tmp_path)
    folder = tmp_path / name / "fp32"
    folder.mkdir(parents=True)
    for path in built.folder.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    assert resolve_detector(store, device="CUDA") == resolve_detector(store) == Variant(name, "fp32")
    (folder / PROGRAM_NAME).unlink()
    assert resolve_detector(store) == Variant(name, "fp32")
    with pytest.raises(ModelMissing, match=r"not made for CUDA\. .*`ninefold models build rtdetr_r18 --device CUDA`"):
        resolve_detector(store, device="CUDA")
