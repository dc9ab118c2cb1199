"""The server on another device than the CPU: OpenVINO's by a stand-in, CUDA played by the CPU, and devices not here."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import openvino as ov
import pytest
import torch
from pydantic import ValidationError

from backend.settings import Settings
from inference import torch_runners
from inference.openvino_classifier import cpu_count
from tests import pictures
from tests.backend.test_process import start_and_fail
from tests.servers import process, serve

EFFICIENTNET, RESNET = "efficientnet_lite0", "resnet18-seeded"
NINE = [(name, pictures.sample(name)) for name in ("koala.jpg", "cat.jpg", "macaw.jpg")] * 3
ONLY_A_CPU = ov.Core().available_devices == ["CPU"] and not torch.cuda.is_available()


def test_the_device_decides_how_many_infer_at_once_unless_it_is_said() -> None:
    assert Settings().threads == cpu_count()
    assert Settings(device="auto:cpu").device == "AUTO:CPU"
    assert (Settings(device="AUTO:CPU").threads, Settings(device="AUTO:CPU", threads=3).threads) == (2 * cpu_count(), 3)


@pytest.mark.skipif(not ONLY_A_CPU, reason="there is more than a CPU here")
@pytest.mark.parametrize(("device", "words"), [("GPU", "finds no GPU here"), ("CUDA", "CUDA"), ("HETERO", "HETERO:")])
def test_a_device_that_is_not_here_is_a_wrong_setting(device: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as wrong:
        Settings(device=device)
    assert wrong.value.errors()[0]["loc"] == ("device",)


@pytest.mark.skipif(not ONLY_A_CPU, reason="there is more than a CPU here")
def test_a_device_that_is_not_here_stops_the_start_with_one_sentence(models_dir: Path) -> None:
    said = start_and_fail(NINEFOLD_MODELS_DIR=str(models_dir), NINEFOLD_DEVICE="NPU", NINEFOLD_PORT="0")
    assert "NINEFOLD_DEVICE" in said and "finds no NPU here; it finds CPU" in said


def test_the_process_answers_on_a_device_by_its_name_and_without_torch(models_dir: Path) -> None:
    first = "import sys; sys.modules['torch'] = None"  # whoever imports it fails
    with process(models_dir, first=first, NINEFOLD_DEVICE="HETERO:CPU") as server:
        server.wait_ready()
        rows = server.predict(*NINE)
        assert [row["predictions"][0]["label"] for row in rows][::3] == ["koala"] * 3


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> None:
    """CUDA played by the CPU, with the batch sizes that a device might have been measured to gain from."""
    on_a_cpu = torch_runners.load_on_torch
    monkeypatch.setattr(torch_runners, "torch_device", lambda _: torch.device("cpu"))
    monkeypatch.setattr(torch_runners, "load_on_torch", partial(on_a_cpu, sizes=(1, 2, 4)))


@pytest.mark.usefixtures("played")
def test_on_cuda_strangers_share_calls_and_int8_is_not_offered(cuda_dir: Path) -> None:
    with serve(cuda_dir, device="CUDA", model=EFFICIENTNET) as server:
        answers = [row["predictions"][0]["label"] for row in server.predict(*NINE)]
        assert answers[::3] == ["koala"] * 3 and answers[2::3] == ["macaw"] * 3
        calls = server.metric(f'ninefold_batch_images_count{{model="{EFFICIENTNET}",precision="fp32"}}')
        assert 1 < calls < 10, "the golden image's, and fewer than nine for the nine"
        refused = server.post(NINE[0], precision="int8")
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "model_missing")


def with_its_gate(cuda_dir: Path, folder: Path) -> Path:
    """A copy in which fp16 says that it was compared on as many pictures as the gate asks for."""
    shutil.copytree(cuda_dir / RESNET, folder / RESNET)
    path = folder / RESNET / "fp16" / "card.json"
    card = json.loads(path.read_text())
    card["agreement"]["images"] = 1000
    path.write_text(json.dumps(card))
    return folder


@pytest.mark.usefixtures("played")
def test_on_cuda_fp16_answers_by_default(cuda_dir: Path, tmp_path: Path) -> None:
    with serve(with_its_gate(cuda_dir, tmp_path), device="CUDA", model=RESNET) as server:
        answer = server.post(NINE[0]).json()
        assert (answer["model"], answer["precision"]) == (RESNET, "fp16")
        assert answer["results"][0]["status"] == "ok"


@pytest.mark.usefixtures("played")
def test_on_cuda_fp32_answers_where_fp16_fails_its_golden_image(cuda_dir: Path, tmp_path: Path) -> None:
    folder = with_its_gate(cuda_dir, tmp_path)
    path = folder / RESNET / "fp16" / "card.json"
    card = json.loads(path.read_text())
    card["golden"]["predictions"][0]["index"] += 1
    path.write_text(json.dumps(card))
    with serve(folder, device="CUDA", model=RESNET) as server:
        assert server.post(NINE[0]).json()["precision"] == "fp32"
