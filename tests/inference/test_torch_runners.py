"""The engine for CUDA on a CPU: graphs, streams and pinned memory need the device, and are played or left out."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from contract.transform import Pixels
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact, Variant
from inference.batched_classifier import BatchedClassifier
from inference.catalogue import BY_NAME
from inference.choice import ModelMissing
from inference.classifier import Classifier, DeviceLost, check_golden, golden_pixels, softmax
from inference.devices import PROGRAM_NAME
from inference.torch_classifier import TorchClassifier
from inference.torch_runners import CapturedRunner, NoDevice, host_memory, load_on_torch, torch_device
from modelzoo.networks import build_network
from modelzoo.programs import judged_on_torch
from modelzoo.weights import obtain

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")
NAMES = ("resnet18-seeded", "efficientnet_lite0")


def noise(count: int) -> Pixels:
    return np.random.default_rng(1).integers(0, 256, (count, 224, 224, 3), dtype=np.uint8)


def artefact(folder: Path, name: str, precision: str = "fp32") -> Artefact:
    found = ArtefactStore(folder).get(Variant(name, precision))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def loaded(cuda_dir: Path) -> dict[str, BatchedClassifier]:
    return {name: load_on_torch(artefact(cuda_dir, name), CPU, runners=2, sizes=(1, 2, 4)) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("count", [1, 3, 6])
def test_logits_are_the_references_for_any_number_of_images(
    loaded: dict[str, BatchedClassifier], name: str, count: int
) -> None:
    model, pixels = BY_NAME[name], noise(count)
    reference = TorchClassifier(build_network(model, obtain(model, None, Path("unused"))), model.transform)
    ours, theirs = loaded[name](pixels), reference(pixels)
    assert ours.shape == (count, 1000) and ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < 1e-3 < theirs.std()


def test_sixteen_threads_get_their_own_answers(loaded: dict[str, BatchedClassifier]) -> None:
    classifier, pixels, wrong = loaded["resnet18-seeded"], noise(8), []
    expected = classifier(pixels)

    def ask(number: int) -> None:
        at = number % 6
        got = classifier(pixels[at : at + 1 + number % 3])
        wrong.extend([number] if np.abs(got - expected[at : at + len(got)]).max() > 1e-3 else [])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert np.abs(expected[0] - expected[1]).max() > 0.01, "the pictures must not all have the same answer"


def test_the_golden_image_gets_its_answer(loaded: dict[str, BatchedClassifier], cuda_dir: Path) -> None:
    one = artefact(cuda_dir, "efficientnet_lite0")
    assert check_golden(one, loaded["efficientnet_lite0"](golden_pixels(one))).label == "espresso"


def cast(cuda_dir: Path, precision: str) -> Artefact:
    """resnet18-seeded under another precision's name, with the very program."""
    fp32 = artefact(cuda_dir, "resnet18-seeded")
    return replace(fp32, card=replace(fp32.card, precision=precision))


@pytest.mark.parametrize(("precision", "off"), [("fp16", 0.03), ("bf16", 0.3)])
def test_in_half_precision_it_is_nearly_fp32_and_what_the_build_judges_is_nearer(
    loaded: dict[str, BatchedClassifier], cuda_dir: Path, precision: str, off: float
) -> None:
    pixels = noise(3)
    exact = loaded["resnet18-seeded"](pixels)
    half = load_on_torch(cast(cuda_dir, precision), CPU, 1, (4,))(pixels)
    judged = judged_on_torch(cast(cuda_dir, precision))(pixels)
    assert 0 < np.abs(half - exact).max() < off
    assert np.abs(half - judged).max() < off
    assert 0.2 < np.abs(judged - exact).mean() / np.abs(half - exact).mean() < 5
    assert np.abs(softmax(half) - softmax(exact)).max() < 0.02


def test_fp16_as_it_is_built_says_how_far_it_agrees(cuda_dir: Path) -> None:
    card = artefact(cuda_dir, "resnet18-seeded", "fp16").card
    assert set(card.files) == {PROGRAM_NAME, "golden.jpg"}
    assert card.agreement.images == 16 and card.agreement.top1 >= 0.9
    assert 0 < card.agreement.max_logit_difference < 0.1


@pytest.mark.parametrize(
    ("precision", "files", "words"),
    [
        ("int8", {}, "is not for CUDA"),
        ("fp32", {PROGRAM_NAME: None}, "without a program for torch.* build resnet18-seeded --device CUDA`"),
    ],
)
def test_what_cuda_cannot_compute_is_missing_in_words(
    cuda_dir: Path, precision: str, files: dict[str, None], words: str
) -> None:
    one = cast(cuda_dir, precision)
    kept = {name: entry for name, entry in one.card.files.items() if name not in files}
    with pytest.raises(ModelMissing, match=words):
        load_on_torch(replace(one, card=replace(one.card, files=kept)), CPU, 1)


def test_a_damaged_program_does_not_load(cuda_dir: Path, tmp_path: Path) -> None:
    one = artefact(cuda_dir, "resnet18-seeded")
    shutil.copytree(one.folder, tmp_path / "fp32")
    with (tmp_path / "fp32" / PROGRAM_NAME).open("r+b") as file:
        file.seek(10_000)
        file.write(b"\0\1\2\3")
    with pytest.raises(DamagedArtefact, match=r"network\.pt2"):
        load_on_torch(replace(one, folder=tmp_path / "fp32"), CPU, 1)


def test_its_memory_is_that_of_its_weights_and_of_what_is_staged(loaded: dict[str, BatchedClassifier]) -> None:
    weights, staged = 46.8e6, 2 * 128 * 224 * 224 * 3
    assert loaded["resnet18-seeded"].memory_bytes == pytest.approx(weights + staged, rel=0.02)


def test_a_program_needs_none_of_the_classes_it_was_made_of(cuda_dir: Path) -> None:
    code = (
        "import sys, torch\n"
        f"program = torch.export.load({str(artefact(cuda_dir, 'efficientnet_lite0').folder / PROGRAM_NAME)!r})\n"
        "with torch.inference_mode(): print(program.module()(torch.zeros(1, 3, 224, 224)).shape)\n"
        "print([name for name in sys.modules if name.startswith(('torchvision', 'efficientnet', 'modelzoo'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["torch.Size([1, 1000])", "[]"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device_memory_is_ordinary_and_the_reason_is_in_words() -> None:
    memory = host_memory(2, 3, dtype=torch.uint8)
    assert memory.dtype == torch.uint8 and not memory.is_pinned()
    with pytest.raises(NoDevice, match=r"built without CUDA|finds no CUDA device"):
        torch_device("CUDA:1")


def test_both_engines_keep_to_the_seam(loaded: dict[str, BatchedClassifier]) -> None:
    seam: Classifier = loaded["resnet18-seeded"]
    assert seam.max_batch == 4 and seam.memory_bytes > 0


class PlayedRunner(CapturedRunner):
    """Its graphs compute when they are started, as a device's would."""

    def prepare(self, size: int) -> None:
        super().prepare(size)
        self._graphs[size].replay.side_effect = lambda: self._compute(size)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Streams, events and graphs of a device that is played by the CPU; what was asked of them, in order."""
    said: list[str] = []

    def telling(words: str) -> Callable[..., None]:
        return lambda *_: said.append(words)

    @contextmanager
    def within(stream: Mock) -> Iterator[None]:
        said.append(f"on {stream.number}")
        yield

    def stream() -> Mock:
        number = len([words for words in said if words == "made"])
        said.append("made")
        return Mock(number=number)

    def event(*, blocking: bool) -> Mock:
        done = Mock()
        done.record.side_effect = lambda stream: said.append(f"recorded on {stream.number}")
        done.synchronize.side_effect = telling("waited, asleep" if blocking else "waited, awake")
        return done

    monkeypatch.setattr(torch.cuda, "synchronize", telling("waited for the device"))
    monkeypatch.setattr(torch.cuda, "device", nullcontext)
    monkeypatch.setattr(torch.cuda, "graph", lambda *_, **__: nullcontext())
    played = {"Stream": stream, "Event": event, "CUDAGraph": Mock, "graph_pool_handle": Mock, "current_stream": Mock}
    for name, instead in played.items():
        monkeypatch.setattr(torch.cuda, name, instead)
    monkeypatch.setattr(torch.cuda, "stream", within)
    return said


def in_rows(pixels: torch.Tensor) -> torch.Tensor:
    """uint8[N,2,2,3] → float32[N,5,6]: each image's own value, and the number of the row."""
    value = pixels[:, 0, 0, 0].float().reshape(-1, 1, 1)
    return value + torch.arange(5).reshape(1, 5, 1) / 10 + torch.zeros(1, 1, 6)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_a_detectors_answers_come_back_through_graphs_of_their_own_streams(asked: list[str], count: int) -> None:
    runners = [PlayedRunner(in_rows, CPU, (4, 2, 2, 3), (5, 6)) for _ in range(2)]  # type: ignore[arg-type]
    classifier = BatchedClassifier(runners, (5, 6), lambda: 0, sizes=(1, 4))
    pixels = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1) * np.ones((1, 2, 2, 3), np.uint8)
    asked.clear()
    answers = classifier(pixels)
    assert answers.shape == (count, 5, 6)
    assert np.allclose(answers, in_rows(torch.from_numpy(pixels)).numpy())
    (on,) = {words for words in asked if words.startswith("on ")}
    assert on in ("on 0", "on 1") and asked == [on, f"recorded {on}", "waited, asleep"] * -(-count // 4)


def test_each_runner_has_a_stream_of_its_own(asked: list[str]) -> None:
    for _ in range(2):
        PlayedRunner(in_rows, CPU, (4, 2, 2, 3), (5, 6)).prepare(1)  # type: ignore[arg-type]
    assert [words for words in asked if words.startswith("on ")] == ["on 0", "on 1"]


@pytest.mark.parametrize(
    ("error", "becomes"),
    [(RuntimeError("CUDA error: an illegal memory access"), DeviceLost), (torch.OutOfMemoryError(), RuntimeError)],
)
def test_an_error_of_cudas_in_a_call_means_that_the_device_is_lost(
    monkeypatch: pytest.MonkeyPatch, error: Exception, becomes: type[Exception]
) -> None:
    monkeypatch.setattr(torch.cuda, "stream", nullcontext)
    runner = CapturedRunner.__new__(CapturedRunner)
    runner._device, runner._stream = torch.device("cuda", 0), None
    runner._pixels, runner._from = torch.zeros(1), torch.zeros(1)
    runner._graphs = {1: Mock(replay=Mock(side_effect=error))}
    with pytest.raises(becomes):
        runner.run(1)
