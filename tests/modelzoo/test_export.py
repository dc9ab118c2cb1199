"""`ninefold models export`: the files say what torch says, carry what they need, and are there whole or not at all."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import types
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import openvino as ov
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from cli.main import app
from contract.transform import Pixels, TransformSpec, to_pixels
from inference.artefacts import Artefact, sha256_of
from inference.card import Agreement
from inference.catalogue import BY_NAME
from inference.classifier import Classifier, WrongAnswer, softmax
from inference.torch_classifier import Normalised, TorchClassifier
from modelzoo.build import GOLDEN, probes_of
from modelzoo.export import judge
from modelzoo.export_files import CannotExport, placed
from modelzoo.export_onnx import Drawn, refuse_overflow
from modelzoo.export_tensorrt import BATCHES, EngineClassifier, engine, write_with
from modelzoo.networks import build_network
from modelzoo.weights import obtain
from tests.modelzoo import fake_tensorrt
from tests.servers import ROOT, free_port

LITE = "efficientnet_lite0"
SPEC = BY_NAME[LITE].transform
EXPORTED = [(LITE, "fp32"), ("resnet18-seeded", "fp32"), (LITE, "fp16")]


def export(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(app, ["models", "export", *map(str, arguments)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ONNX files as the command writes them; artefacts have no part in it."""
    folder = tmp_path_factory.mktemp("exports")
    for name, precision in EXPORTED:
        done = export(name, "--to", "onnx", "--precision", precision, "-o", folder, "--models-dir", folder / "none")
        assert done.exit_code == 0, done.stderr
        assert "the same top-1 on 32 of 32 pictures" in done.stderr
    return folder


@pytest.fixture(scope="module")
def references() -> dict[str, TorchClassifier]:
    models = (BY_NAME[name] for name in (LITE, "resnet18-seeded"))
    return {m.name: TorchClassifier(build_network(m, obtain(m, None, Path())), m.transform) for m in models}


@pytest.fixture(scope="module")
def probes() -> Pixels:
    return probes_of(SPEC)[:4]


def run(path: Path, pixels: Pixels) -> np.ndarray:
    return np.asarray(
        ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})({"pixels": pixels})["logits"]
    )


@pytest.mark.parametrize(("name", "precision"), EXPORTED[:2])
@pytest.mark.parametrize("images", [1, 3])
def test_onnx_says_what_torch_says_for_any_batch(
    folder: Path, references: dict[str, TorchClassifier], probes: Pixels, name: str, precision: str, images: int
) -> None:
    logits = run(folder / f"{name}-{precision}.onnx", probes[:images])
    assert logits.dtype == np.float32 and logits.shape == (images, 1000)
    assert np.abs(logits - references[name](probes[:images])).max() < 1e-3


def test_fp16_is_half_as_large_takes_and_gives_the_same_and_calls_the_golden_image_the_same(
    folder: Path, references: dict[str, TorchClassifier]
) -> None:
    whole, half = (folder / f"{LITE}-{precision}.onnx" for precision in ("fp32", "fp16"))
    assert half.stat().st_size < 0.52 * whole.stat().st_size
    network = onnx.load(half)
    types = [value.type.tensor_type.elem_type for value in (network.graph.input[0], network.graph.output[0])]
    assert types == [onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT]
    kinds = {tensor.data_type for tensor in network.graph.initializer if len(tensor.dims) > 1 and tensor.dims[0] > 1}
    assert kinds == {onnx.TensorProto.FLOAT16}
    pixels = to_pixels(GOLDEN.read_bytes(), SPEC)[None]
    ours, theirs = run(half, pixels), references[LITE](pixels)
    assert ours.argmax() == theirs.argmax()
    assert 0 < np.abs(softmax(ours) - softmax(theirs)).max() < 0.02


@pytest.mark.parametrize(("name", "precision"), EXPORTED)
def test_pixels_are_cast_before_anything_is_done_with_them_and_no_shape_is_computed(
    folder: Path, name: str, precision: str
) -> None:
    """TensorRT casts uint8 and does nothing else with it; and what computes shapes is slow everywhere."""
    nodes = onnx.load(folder / f"{name}-{precision}.onnx").graph.node
    assert [node.op_type for node in nodes if "pixels" in node.input] == ["Cast"]
    assert not {node.op_type for node in nodes} & {"Shape", "Gather", "Range"}


def test_onnx_carries_its_labels_transform_source_hash_and_licence_and_nothing_of_where_it_was_made(
    folder: Path, efficientnet: Artefact
) -> None:
    path = folder / f"{LITE}-fp32.onnx"
    about = {prop.key: prop.value for prop in onnx.load(path).metadata_props}
    card = efficientnet.card
    assert json.loads(about["labels"]) == list(card.labels)
    assert TransformSpec.from_dict(json.loads(about["transform"])) == card.transform
    assert (about["model"], about["precision"]) == (LITE, "fp32")
    assert (about["source"], about["weights_sha256"]) == (card.origin.place, card.origin.sha256)
    assert about["licence"] == "Apache-2.0"
    assert str(ROOT).encode() not in path.read_bytes() and b"stack_trace" not in path.read_bytes()


def test_the_json_beside_it_has_its_hash_and_what_was_measured(folder: Path) -> None:
    for path in folder.glob("*.onnx"):
        about = json.loads(Path(f"{path}.json").read_text())
        assert about["files"] == {path.name: {"size_bytes": path.stat().st_size, "sha256": sha256_of(path)}}
        assert about["agreement"]["images"] == 32 and about["agreement"]["max_logit_difference"] < 0.1
        assert {"onnx", "torch", "openvino"} <= set(about["versions"])
        assert path.name in about["use"] and len(about["labels"]) == about["output"]["shape"][1]
    assert len(list(folder.iterdir())) == 2 * len(EXPORTED)


def test_what_is_farther_off_than_rounding_explains_is_refused() -> None:
    close = Agreement("torch", 32, 1.0, max_logit_difference=1e-5, max_probability_difference=1e-6)
    judge(close, logits=1e-3, probability=0.02)
    far = [replace(close, max_logit_difference=wrong) for wrong in (0.002, float("nan"))]
    for wrong in (*far, replace(close, max_probability_difference=0.03)):
        with pytest.raises(WrongAnswer, match="its logits are off by up to"):
            judge(wrong, logits=1e-3, probability=0.02)


def test_a_network_whose_numbers_are_too_large_for_fp16_is_refused(probes: Pixels) -> None:
    class Loud(torch.nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.inside = torch.nn.Hardtanh(-factor, factor)
            self.factor = factor

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.inside(image * 2 * self.factor).mean(dim=(2, 3)) / self.factor

    refuse_overflow(Normalised(Loud(6e4), SPEC), probes)
    with pytest.raises(CannotExport, match="export fp32"):
        refuse_overflow(Normalised(Loud(7e4), SPEC), probes)
    with pytest.raises(CannotExport, match="reach nan"):
        refuse_overflow(Normalised(Loud(float("nan")), SPEC), probes)


def test_openvino_ir_is_the_artefact_and_tells_what_it_needs(
    efficientnet: Artefact, models_dir: Path, tmp_path: Path, probes: Pixels
) -> None:
    done = export(LITE, "--to", "openvino", "-o", tmp_path, "--models-dir", models_dir)
    assert done.exit_code == 0, done.stderr
    stem = f"{LITE}-fp32"
    assert {path.name for path in tmp_path.iterdir()} == {f"{stem}.xml", f"{stem}.bin", f"{stem}.xml.json"}
    assert done.stdout.split() == [str(tmp_path / f"{stem}{end}") for end in (".xml", ".bin", ".xml.json")]
    theirs = ov.Core().compile_model(efficientnet.folder / "model.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    assert np.array_equal(run(tmp_path / f"{stem}.xml", probes[:3]), theirs([probes[:3]])[0])
    network = ov.Core().read_model(tmp_path / f"{stem}.xml")
    found = {
        key: network.get_rt_info(["ninefold", key]).astype(str) for key in ("labels", "transform", "weights_sha256")
    }
    assert json.loads(found["labels"]) == list(efficientnet.card.labels)
    assert TransformSpec.from_dict(json.loads(found["transform"])) == SPEC
    assert found["weights_sha256"] == efficientnet.card.origin.sha256
    labels = network.get_rt_info(["model_info", "labels"]).astype(str).split(" ")
    assert len(labels) == 1000 and labels[2] == "great_white_shark"
    assert set(json.loads((tmp_path / f"{stem}.xml.json").read_text())["files"]) == {f"{stem}.xml", f"{stem}.bin"}


def test_int8_goes_to_openvino_as_it_is(int8_dir: Path, tmp_path: Path) -> None:
    done = export(LITE, "--to", "openvino", "--precision", "int8", "-o", tmp_path, "--models-dir", int8_dir)
    assert done.exit_code == 0 and "the same top-1 on 1 of 1" in done.stderr, done.stderr
    size = (int8_dir / LITE / "int8" / "model.bin").stat().st_size
    assert (tmp_path / f"{LITE}-int8.bin").stat().st_size <= size * 1.01


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "onnx", "--precision", "int8"), "use --to openvino, or export fp32"),
        (("--to", "tensorrt", "--precision", "pruned"), "use --to openvino, or export fp32"),
        (("--to", "openvino", "--precision", "bf16"), "INFERENCE_PRECISION_HINT"),
        (("--to", "openvino", "--precision", "pruned"), "it is there in fp32"),
        (("--to", "openvino", "--weights", "any.pth"), "ninefold models build efficientnet_lite0 --weights FILE"),
        (("--to", "neuron"), "docs/export.md"),
        (("--to", "onnx", "--weights", "none.pth"), "there is no file none.pth. If you have the file: --weights FILE"),
    ],
)
def test_what_cannot_be_had_is_refused_in_words(
    models_dir: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused = export(LITE, *arguments, "-o", tmp_path / "out", "--models-dir", models_dir)
    assert refused.exit_code == 1 and words in refused.stderr and "Traceback" not in refused.stderr, refused.stderr
    assert not list(tmp_path.iterdir())


def test_weights_that_cannot_be_had_and_models_that_do_not_exist(tmp_path: Path) -> None:
    mirror = f"http://127.0.0.1:{free_port()}"
    missing = export("resnet18", "--to", "onnx", "-o", tmp_path / "out", NINEFOLD_WEIGHTS_MIRROR=mirror)
    assert missing.exit_code == 1 and "cannot be reached" in missing.stderr and "--weights FILE" in missing.stderr
    assert not list(tmp_path.iterdir())
    unknown = export("alexnet", "--to", "onnx", "-o", tmp_path)
    assert unknown.exit_code == 2 and "Known: resnet18" in unknown.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_tensorrt_says_what_is_missing(tmp_path: Path) -> None:
    refused = export(LITE, "--to", "tensorrt", "-o", tmp_path / "out")
    assert refused.exit_code == 1 and "no NVIDIA GPU" in refused.stderr and "Export to ONNX here" in refused.stderr
    assert not list(tmp_path.iterdir())


def test_tensorrt_is_asked_for_typed_networks_without_tf32_and_its_answer_is_held_to_torch(
    folder: Path, references: dict[str, TorchClassifier], efficientnet: Artefact, tmp_path: Path
) -> None:
    """On the stand-in: everything but what TensorRT itself does."""
    path = folder / f"{LITE}-fp16.onnx"
    drawn = Drawn(onnx.load(path), references[LITE], replace(efficientnet.card, precision="fp16"))
    card = write_with(fake_tensorrt, "cpu", drawn, tmp_path / "a.plan", lambda _: None)
    assert card.agreement.images == 32 and 0 < card.agreement.max_probability_difference < 0.02
    assert card.versions["tensorrt"] == fake_tensorrt.__version__
    assert fake_tensorrt.Builder.last is not None
    network, config = fake_tensorrt.Builder.last
    assert network.flags == 1 << fake_tensorrt.NetworkDefinitionCreationFlag.STRONGLY_TYPED and not config.flags
    assert config.profiles[0].shapes == {"pixels": tuple((images, 224, 224, 3) for images in BATCHES)}
    other = replace(drawn, reference=cast(Classifier, lambda pixels: np.zeros((len(pixels), 1000), np.float32)))
    with pytest.raises(WrongAnswer, match="are off"):
        write_with(fake_tensorrt, "cpu", other, tmp_path / "b.plan", lambda _: None)


def test_what_tensorrt_does_not_read_or_run_is_told(folder: Path) -> None:
    with pytest.raises(CannotExport, match="cannot read the network: In node 0"):
        engine(fake_tensorrt, b"no onnx", 224)
    with pytest.raises(WrongAnswer, match="does not read"):
        EngineClassifier(fake_tensorrt, b"no plan", 224, 1000, "cpu")
    plan = engine(fake_tensorrt, (folder / f"{LITE}-fp32.onnx").read_bytes(), 224)
    too_many = np.zeros((65, 224, 224, 3), dtype=np.uint8)
    with pytest.raises(WrongAnswer, match="did not run"):
        EngineClassifier(fake_tensorrt, plan, 224, 1000, "cpu")(too_many)


def test_files_appear_together_or_not_at_all(tmp_path: Path) -> None:
    folder, names = tmp_path / "a" / "b", ("net", "net.json")

    def write(text: str, *, force: bool = False, broken: bool = False) -> None:
        with placed(folder, names, force=force) as staging:
            for name in names[: 1 if broken else 2]:
                (staging / name).write_text(text)
            if broken:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write("half", broken=True)
    assert not list(tmp_path.iterdir())
    write("first")
    with pytest.raises(CannotExport, match="--force"):
        write("second")
    with pytest.raises(KeyboardInterrupt):
        write("second", force=True, broken=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(names, "first")
    write("second", force=True)
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(names, "second")


def test_ended_half_way_it_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from cli.main import app; app()", "models", "export", LITE, "--to", "onnx"]
    process = subprocess.Popen([*command, "-o", str(tmp_path / "out")], cwd=ROOT, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("out/.export-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("out/.export-*"))
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode != 0 and not list(tmp_path.iterdir())


def test_a_full_disk_is_one_sentence(full_disk: Path, models_dir: Path) -> None:
    refused = export(LITE, "--to", "openvino", "-o", full_disk / "out", "--models-dir", models_dir)
    assert refused.exit_code == 1 and "No space left" in refused.stderr and "Traceback" not in refused.stderr
    assert not list(full_disk.iterdir())


def blocks(name: str) -> str:
    """The Python of a chapter of docs/export.md."""
    text = (ROOT / "docs" / "export.md").read_text()
    chapter = re.split(rf"^## {name}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
    return "\n".join(re.findall(r"```python\n(.*?)```", chapter, flags=re.DOTALL))


def test_what_the_documentation_shows_works(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(folder, tmp_path / "exports")
    shutil.copy(ROOT / "frontend/samples/koala.jpg", tmp_path)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, object] = {}
    exec(blocks("Pixels") + blocks("OpenVINO Runtime"), scope)  # the documentation's own words
    pixels = scope["pixels"]
    assert isinstance(pixels, np.ndarray)
    ours = to_pixels(Path("koala.jpg").read_bytes(), SPEC)
    assert np.abs(pixels[0].astype(int) - ours).mean() < 0.5
    assert "koala" in capsys.readouterr().out
    of_800 = "koala-1200x800.png"  # 232 / 800 * 800 is a little less than 232
    Image.open("koala.jpg").convert("RGB").resize((1200, 800)).save(of_800)
    pixels_of: Any = scope["pixels_of"]
    theirs = pixels_of(of_800, {"resize": 232, "crop": 224, "interpolation": "bilinear"})
    ours = to_pixels(Path(of_800).read_bytes(), TransformSpec(resize=232))
    assert np.abs(theirs.astype(int) - ours).max() <= 2


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning")  # Neuron's files are TorchScript
def test_the_recipe_for_neuron_gets_as_far_as_the_compiler(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, references: dict[str, TorchClassifier], probes: Pixels
) -> None:
    """With torch's own tracing where torch_neuronx's would be: the network, its input, the file."""

    def trace(func: torch.nn.Module, example_inputs: torch.Tensor, *, compiler_args: list[str]) -> torch.nn.Module:
        traced: torch.nn.Module = torch.jit.trace(func, example_inputs, check_trace=False)
        return traced

    compiler = types.ModuleType("torch_neuronx")
    monkeypatch.setattr(compiler, "trace", trace, raising=False)
    monkeypatch.setitem(sys.modules, "torch_neuronx", compiler)
    monkeypatch.chdir(tmp_path)
    exec(blocks("AWS Inferentia and Trainium"), {})
    logits = torch.jit.load(next(tmp_path.glob("*.pt")))(torch.from_numpy(probes[[0] * 8])).detach().numpy()
    assert np.abs(logits[0] - references[LITE](probes[:1])[0]).max() < 1e-3
