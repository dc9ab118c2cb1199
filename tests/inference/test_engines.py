"""Which engine a device's name means, what is said of devices that are not here, and OpenVINO's other devices."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov
import pytest

from contract.transform import Pixels
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.choice import ModelMissing
from inference.classifier import check_golden, golden_pixels
from inference.devices import cpu_count, faster_precision, is_cuda
from inference.openvino_classifier import behind

ONLY_A_CPU = ov.Core().available_devices == ["CPU"]
STAND_INS = ["AUTO:CPU", "HETERO:CPU", "MULTI:CPU"]


def noise(count: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def test_cuda_is_torchs_and_everything_else_openvinos() -> None:
    names = ("CUDA", "CUDA:1", "CPU", "GPU.1", "HETERO:GPU,CPU")
    assert [is_cuda(name) for name in names] == [True, True, False, False, False]
    assert [faster_precision(name) for name in names[1:3]] == ["fp16", "int8"]


@pytest.mark.skipif(not ONLY_A_CPU, reason="there is more than a CPU here")
@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("GPU", "finds no GPU here; it finds CPU"),
        ("NPU", "finds no NPU here"),
        ("AUTO:GPU,CPU", "finds no GPU here"),
        ("HETERO", "must be named: HETERO:GPU,CPU"),
        ("BATCH:GPU(16)", "finds no GPU here"),
        ("", "finds no  here"),
    ],
)
def test_a_device_that_is_not_here_is_named_with_those_that_are(device: str, words: str) -> None:
    assert words in (engines.why_not(device) or "")


@pytest.mark.skipif(not ONLY_A_CPU, reason="there is more than a CPU here")
@pytest.mark.parametrize("device", ["CPU", "CPU.0", "AUTO", "AUTO:-GPU", *STAND_INS])
def test_there_is_nothing_to_say_of_a_device_that_is_here(device: str) -> None:
    assert engines.why_not(device) is None
    assert behind(device) in (["CPU"], ["CPU.0"])


def test_without_torch_cuda_says_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "find_spec", lambda _: None)
    assert "requirements/backend-gpu.txt" in (engines.why_not("CUDA") or "")


def test_a_cpu_has_a_lane_a_core_and_other_devices_have_lanes_that_wait() -> None:
    assert [engines.lanes(device) for device in ("CPU", "GPU", "CUDA:1")] == [cpu_count(), 2 * cpu_count(), 2]


@pytest.mark.parametrize("device", STAND_INS)
def test_other_devices_answer_as_the_cpu_does(device: str, efficientnet: Artefact) -> None:
    """The generic path: OpenVINO's CPU under a name that is not CPU."""
    pixels = np.concatenate([golden_pixels(efficientnet), noise(1)])
    elsewhere, here = engines.load(efficientnet, threads=2, device=device), engines.load(efficientnet)
    assert np.abs(elsewhere(pixels) - here(pixels)).max() < 1e-3
    assert check_golden(efficientnet, elsewhere(pixels[:1])).label == "espresso"


def with_card(artefact: Artefact, **changes: object) -> Artefact:
    return Artefact(artefact.folder, artefact.card.__class__(**{**vars(artefact.card), **changes}))


@pytest.mark.skipif("BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="it has bf16")
@pytest.mark.parametrize("device", ["CPU", *STAND_INS])
def test_a_precision_that_a_device_cannot_compute_is_missing_in_words(device: str, efficientnet: Artefact) -> None:
    with pytest.raises(ModelMissing, match="bf16 in hardware"):
        engines.load(with_card(efficientnet, precision="bf16"), device=device)


def test_what_was_made_for_cuda_alone_is_not_computed_elsewhere(cuda_dir: Path) -> None:
    made = ArtefactStore(cuda_dir).get(Variant("resnet18-seeded", "fp16"))
    assert made is not None
    with pytest.raises(ModelMissing, match="was made for CUDA, and CPU is none"):
        engines.load(made)
