"""The server on another device than the CPU: OpenVINO's by a stand-in, CUDA played by the CPU, and devices not here."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import openvino as ov
import pytest
import torch
from pydantic import ValidationError

from backend.api.errors import translate
from backend.settings import Settings
from contract.transform import Pixels, TransformSpec
from inference import torch_runners
from inference.decode_cuda import DeviceDecoder
from inference.devices import cpu_count
from tests import pictures
from tests.backend.test_process import start_and_fail
from tests.servers import Service, process, serve

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


def model_of(server: Service, name: str) -> dict[str, Any]:
    return next(model for model in server.client.get("/v1/models").json()["models"] if model["name"] == name)


def commands(model: dict[str, Any]) -> list[str]:
    return [absent["command"] for absent in model["absent"]]


@pytest.mark.usefixtures("played")
def test_on_cuda_only_what_torch_runs_is_listed_and_the_commands_are_for_cuda(
    cuda_dir: Path, int8_dir: Path, tmp_path: Path
) -> None:
    shutil.copytree(cuda_dir / RESNET, tmp_path / RESNET)
    shutil.copytree(cuda_dir / EFFICIENTNET, tmp_path / EFFICIENTNET)
    shutil.copytree(int8_dir / EFFICIENTNET / "int8", tmp_path / EFFICIENTNET / "int8")
    shutil.copytree(int8_dir / EFFICIENTNET / "int8", tmp_path / "resnet18" / "int8")  # for a CPU alone
    card = tmp_path / "resnet18" / "int8" / "card.json"
    card.write_text(card.read_text().replace(f'"model": "{EFFICIENTNET}"', '"model": "resnet18"'))
    with serve(tmp_path, device="CUDA", model=EFFICIENTNET) as server:
        default, other = model_of(server, EFFICIENTNET), model_of(server, "resnet18")
        assert [variant["precision"] for variant in default["variants"]] == ["fp32"]
        assert commands(default) == [
            f"ninefold models quantize {EFFICIENTNET} --precision bf16 --device CUDA",
            f"ninefold models quantize {EFFICIENTNET} --device CUDA",
        ]
        assert (default["faster"], default["why_not_int8"]) == ("fp16", None)
        assert "--device CUDA" in default["why_not_faster"]
        assert other["status"] == "missing" and commands(other) == ["ninefold models build resnet18 --device CUDA"]
        metadata = server.client.get(f"/v2/models/{EFFICIENTNET}").json()
        assert (metadata["versions"], metadata["platform"]) == (["fp32"], "pytorch_exported")


def test_on_a_cpu_what_was_made_for_cuda_is_neither_listed_nor_ready(cuda_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(cuda_dir / RESNET, tmp_path / RESNET)
    with serve(tmp_path, model=RESNET) as server:
        listed = [variant["precision"] for variant in model_of(server, RESNET)["variants"]]
        assert "fp32" in listed and "fp16" not in listed
        assert "fp16" not in server.client.get(f"/v2/models/{RESNET}").json()["versions"]
        assert server.client.get(f"/v2/models/{RESNET}/versions/fp32/ready").status_code == 200
        assert server.client.get(f"/v2/models/{RESNET}/versions/fp16/ready").status_code == 503


@pytest.mark.parametrize("there", [True, False])
def test_bf16_is_offered_only_where_it_can_be_made(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    monkeypatch.setattr("backend.api.status.has_bf16", lambda _: there)
    with serve(models_dir) as server:
        command = f"ninefold models quantize {EFFICIENTNET} --precision bf16"
        assert (command in commands(model_of(server, EFFICIENTNET))) == there


def test_a_device_without_room_is_a_503_in_words() -> None:
    error = translate(MemoryError("cuda:0 has no room"))
    assert (error.status, error.code) == (503, "no_memory") and "Try again later" in error.message


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


@pytest.mark.usefixtures("played")
def test_cuda_decodes_where_that_is_set(cuda_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_the_device, decoded = DeviceDecoder._pixels, []

    def pixels(decoder: DeviceDecoder, data: bytes, spec: TransformSpec) -> Pixels:
        decoded.append(data)
        return on_the_device(decoder, data, spec)

    monkeypatch.setattr(DeviceDecoder, "_pixels", pixels)
    for wanted, count in ((False, 0), (True, 9)):
        with serve(cuda_dir, device="CUDA", model=EFFICIENTNET, gpu_decode=wanted) as server:
            answers = [row["predictions"][0]["label"] for row in server.predict(*NINE)]
        assert answers[::3] == ["koala"] * 3 and answers[2::3] == ["macaw"] * 3
        assert len(decoded) == count


def test_only_cuda_decodes() -> None:
    with pytest.raises(ValidationError, match="only CUDA decodes, and NINEFOLD_DEVICE is CPU"):
        Settings(gpu_decode=True)
