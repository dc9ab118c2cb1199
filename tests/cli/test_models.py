"""`ninefold models`: what is there, what is missing and why, and builds that say what went wrong."""

import shutil
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.build import _wanted
from cli.main import app
from inference.artefacts import ArtefactStore, DamagedArtefact, Variant
from inference.boxes import Detection
from inference.card import FileEntry
from inference.catalogue import CATALOGUE
from inference.choice import is_built
from inference.devices import PROGRAM_NAME
from tests import tiny
from tests.detectors import fake_detector
from tests.servers import ROOT, free_port

PUBLISHED = [model.name for model in CATALOGUE if not model.for_measurements_only]
SMALL = "mobilenet_v2-seeded"


def models(*arguments: str, **environment: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"} | environment).invoke(app, ["models", *arguments])


def words(result: Result) -> str:
    """What was printed, as one line: a table wraps it."""
    return " ".join(result.stdout.split())


def test_list_shows_what_is_there_and_what_is_missing(models_dir: Path) -> None:
    listed = models("list", "--models-dir", str(models_dir)).stdout
    assert "efficientnet_lite0" in listed and "fp32" in listed and "19 MB" in listed
    assert "ninefold models" in listed.replace("\n", " ")


def test_seeded_models_are_listed_only_when_they_were_built(tmp_path: Path) -> None:
    assert "seeded" not in models("list", "--models-dir", str(tmp_path)).stdout


def test_on_a_fresh_clone_every_model_is_listed_with_the_command_that_adds_it(tmp_path: Path) -> None:
    listed = words(models("list", "--models-dir", str(tmp_path)))
    for name in PUBLISHED:
        assert f"{name} – – it has not been built. The command `ninefold models build {name}` adds it." in listed
    assert len(PUBLISHED) == 6


def test_of_several_models_those_that_cannot_be_had_do_not_keep_back_the_others(
    models_dir: Path, tmp_path: Path
) -> None:
    """`build all` on a machine that reaches nobody: the reasons are said, kept and listed; what is there is left."""
    shutil.copytree(models_dir / "efficientnet_lite0", tmp_path / "efficientnet_lite0")
    mirror = f"127.0.0.1:{free_port()}"
    built = models("build", "all", "--models-dir", str(tmp_path), NINEFOLD_WEIGHTS_MIRROR=f"http://{mirror}")
    missing = [name for name in PUBLISHED if name != "efficientnet_lite0"]
    assert built.exit_code == 1 and "efficientnet_lite0 is there." in built.stderr
    assert built.stderr.count("cannot be built") == len(missing) == 5
    assert built.stderr.endswith(f"1 of 6 models are there; not there, for the reasons above: {', '.join(missing)}.\n")
    listed = words(models("list", "--models-dir", str(tmp_path)))
    for name in missing:
        assert f"{name} – – {mirror}, which has its weights, cannot be reached (Connection refused)." in listed
        assert f"The command `ninefold models build {name}` adds it." in listed


def test_a_file_of_weights_is_for_one_model(tmp_path: Path) -> None:
    result = models("build", "resnet18", "resnet50", "--weights", "w.pth", "--models-dir", str(tmp_path))
    assert result.exit_code == 2 and "one model" in result.stderr
    assert not list(tmp_path.iterdir())


def test_fp16_is_published_and_said_to_be_no_faster_where_it_is_not(
    zoo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from modelzoo import quantize as making

    shutil.copytree(zoo_dir / SMALL, tmp_path / SMALL)
    few = partial(making.convert_to_fp16, gate_crops=8)
    monkeypatch.setattr(making, "MAKERS", {**making.MAKERS, "fp16": few})
    done = models("quantize", SMALL, "--precision", "fp16", "--models-dir", str(tmp_path))
    assert (
        done.exit_code == 0 and "there in fp16: the top-1 of fp32 on" in done.stderr and "of 8 pictures" in done.stderr
    )
    made = ArtefactStore(tmp_path).get(Variant(SMALL, "fp16"))
    assert made is not None and ("no less time" in done.stderr) == (made.card.computed_in == "f32")
    again = models("quantize", SMALL, "--precision", "fp16", "--models-dir", str(tmp_path))
    assert again.exit_code == 0 and again.stderr == f"{SMALL} fp16 is there.\n"
    (made.folder / "model.bin").write_bytes(b"damaged")
    with pytest.raises(DamagedArtefact, match=f"quantize {SMALL} --precision fp16 --force"):
        made.verify()


def test_of_several_models_one_that_cannot_be_lowered_does_not_keep_back_the_others(
    models_dir: Path, zoo_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`all` are those with published weights that are there: neither random ones nor what was never built."""
    from modelzoo import quantize as making

    shutil.copytree(zoo_dir / SMALL, tmp_path / SMALL)
    (tmp_path / "efficientnet_lite0").mkdir()
    shutil.copytree(models_dir / "efficientnet_lite0" / "fp32", tmp_path / "efficientnet_lite0" / "fp32")
    few = partial(making.convert_to_fp16, gate_crops=8)
    monkeypatch.setattr(making, "MAKERS", {**making.MAKERS, "fp16": few})
    where = ["--precision", "fp16", "--models-dir", str(tmp_path)]
    done = models("quantize", "resnet50", "all", SMALL, "all", *where)
    assert done.exit_code == 1 and "resnet50 is not on this server: it has not been built" in done.stderr
    assert done.stderr.endswith("2 of 3 models are there in fp16; not made, for the reasons above: resnet50.\n")
    store = ArtefactStore(tmp_path)
    assert [store.precisions(name) for name in ("efficientnet_lite0", SMALL)] == [["fp32", "fp16"]] * 2
    again = models("quantize", "all", *where)
    assert again.exit_code == 0 and again.stderr == "efficientnet_lite0 fp16 is there.\n"
    nothing = models("quantize", "all", "--models-dir", str(tmp_path / "empty"))
    assert nothing.exit_code == 0 and nothing.stderr == "0 of 0 models are there in int8.\n"


@pytest.mark.parametrize(("name", "why"), [("rtdetr_r18", "is a detector"), ("alexnet", "Known: resnet18")])
def test_before_anything_is_made_all_names_are_looked_at(tmp_path: Path, name: str, why: str) -> None:
    refused = models("quantize", "resnet50", name, "--models-dir", str(tmp_path))
    assert refused.exit_code == 1 and why in refused.stderr and refused.stderr.count("\n") == 1


def test_building_what_is_there_is_done_at_once_and_without_torch(models_dir: Path) -> None:
    code = "import sys; from cli.main import app\ntry: app()\nfinally: print('torch' in sys.modules)"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "models", "build", "--models-dir", str(models_dir)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.strip() == "False" and "is there" in done.stderr
    assert time.monotonic() - started < 30


def test_an_unknown_model_and_a_wrong_file_are_one_sentence(tmp_path: Path) -> None:
    unknown = models("build", "alexnet", "--models-dir", str(tmp_path))
    assert unknown.exit_code == 2 and "Known: resnet18" in unknown.stderr
    (tmp_path / "w.pth").write_bytes(b"wrong")
    wrong = models("build", "resnet18", "--weights", str(tmp_path / "w.pth"), "--models-dir", str(tmp_path / "m"))
    assert wrong.exit_code == 1 and "the right file's begins with" in wrong.stderr
    assert not list((tmp_path / "m").glob("resnet18/fp32"))


def test_a_model_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    """NINEFOLD_MODEL names the default's weights and no network has them: exit code 1, and nothing else is built."""
    mirror = f"http://127.0.0.1:{free_port()}"
    result = models("build", "--models-dir", str(tmp_path), NINEFOLD_MODEL="resnet18", NINEFOLD_WEIGHTS_MIRROR=mirror)
    assert result.exit_code == 1 and "cannot be reached" in result.stderr and "--weights FILE" in result.stderr
    assert "cannot be reached" in (ArtefactStore(tmp_path).why_missing("resnet18") or "")
    assert [path.name for path in tmp_path.iterdir()] == ["resnet18"]


def test_a_full_disk_is_one_sentence(full_disk: Path) -> None:
    result = models("build", "efficientnet_lite0", "--models-dir", str(full_disk))
    assert result.exit_code == 1 and "No space left" in result.stderr and "--models-dir" in result.stderr
    assert not list(full_disk.glob("*/fp32"))


def test_a_full_disk_is_one_sentence_of_quantize(models_dir: Path, full_disk: Path) -> None:
    (full_disk / "efficientnet_lite0").mkdir()
    (full_disk / "efficientnet_lite0" / "fp32").symlink_to(models_dir / "efficientnet_lite0" / "fp32")
    where = ["--precision", "fp16", "--models-dir", str(full_disk)]
    result = models("quantize", "efficientnet_lite0", *where)
    assert result.exit_code == 1 and "No space left" in result.stderr
    assert [path.name for path in full_disk.rglob("*") if path.is_dir() or path.is_symlink()] == [
        "efficientnet_lite0", "fp32",
    ]  # fmt: skip


def test_what_is_built_for_cuda_is_there_for_cuda(cuda_dir: Path) -> None:
    where = ["--models-dir", str(cuda_dir)]
    assert "is there" in models("build", "efficientnet_lite0", *where, NINEFOLD_DEVICE="CUDA").stderr
    assert "seeded fp16 is there" in models("quantize", "resnet18-seeded", "--device", "cuda", *where).stderr


def test_what_is_no_device_is_refused(tmp_path: Path) -> None:
    for words in (["build", "resnet18", "--device", "cuda1"], ["quantize", "resnet18", "--device", "CUDDA"]):
        refused = models(*words, "--models-dir", str(tmp_path))
        assert refused.exit_code == 2 and "is no device" in refused.stderr


def test_fp32_that_cannot_be_read_is_one_sentence_and_built_anew(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("modelzoo.build.build_network", tiny.build_network)
    shutil.copytree(models_dir / "resnet18-seeded", tmp_path / "resnet18-seeded")
    (tmp_path / "resnet18-seeded" / "fp32" / "card.json").write_text("{")
    where = ["--models-dir", str(tmp_path)]
    refused = models("quantize", "resnet18-seeded", *where)
    assert refused.exit_code == 1 and "cannot be read" in refused.stderr and "anew" in refused.stderr
    built = models("build", "resnet18-seeded", *where)
    assert built.exit_code == 0 and "is ready" in built.stderr


def test_for_cuda_fp16_is_made_of_what_was_built_for_cuda(models_dir: Path) -> None:
    where = ["--models-dir", str(models_dir), "--device", "CUDA:1"]
    for words in (["quantize", "efficientnet_lite0", *where], ["quantize", *where]):
        refused = models(*words)
        assert refused.exit_code == 1 and "`ninefold models build efficientnet_lite0 --device CUDA`" in refused.stderr


def test_detectors_are_listed_with_the_command_that_adds_them_and_are_no_part_of_all(tmp_path: Path) -> None:
    listed = words(models("list", "--models-dir", str(tmp_path)))
    for name in ("rtdetr_r18", "detr_resnet50"):
        assert f"{name} – – it has not been built. The command `ninefold models build {name}` adds it." in listed
    unknown = models("build", "yolo", "--models-dir", str(tmp_path))
    assert unknown.exit_code == 2 and "detectors: rtdetr_r18, detr_resnet50" in unknown.stderr
    assert _wanted(["all"]) == PUBLISHED


def test_a_detector_without_its_folder_says_what_was_wanted_and_is_listed_so(tmp_path: Path) -> None:
    done = models("build", "rtdetr_r18", "--weights", str(tmp_path / "nothing"), "--models-dir", str(tmp_path))
    assert done.exit_code == 1 and "config.json; a folder as `save_pretrained` writes it is wanted" in done.stderr
    assert done.stderr.endswith("If you have the folder: --weights DIR\n")
    assert "rtdetr_r18 – – there is no" in words(models("list", "--models-dir", str(tmp_path)))


def test_a_detector_that_is_there_is_listed_and_not_built_again(tmp_path: Path) -> None:
    fake = fake_detector(ArtefactStore(tmp_path), [Detection((0.0, 0.0, 1.0, 1.0), "cup", 0, 0.9)], ["cup"])
    home = tmp_path / "rtdetr_r18" / "fp32"
    shutil.copytree(fake.folder, home)
    replace(fake.card, model="rtdetr_r18").write(home)
    listed = words(models("list", "--models-dir", str(tmp_path)))
    assert "detector precisions size note rtdetr_r18 fp32 0 MB RT-DETR-R18 detr_resnet50 – – it has not" in listed
    assert listed.startswith("model precisions size note resnet18 ") and listed.count(" precisions ") == 2
    done = models("build", "rtdetr_r18", "--models-dir", str(tmp_path))
    assert done.exit_code == 0 and done.stderr == "rtdetr_r18 is there.\n"


def test_a_detector_is_there_for_cuda_once_it_has_a_program(tmp_path: Path) -> None:
    fake = fake_detector(ArtefactStore(tmp_path), [Detection((0.0, 0.0, 1.0, 1.0), "cup", 0, 0.9)], ["cup"])
    assert not is_built(ArtefactStore(tmp_path), fake.card.model, "CUDA")
    replace(fake.card, files=fake.card.files | {PROGRAM_NAME: FileEntry(0, "")}).write(fake.folder)
    assert is_built(ArtefactStore(tmp_path), fake.card.model, "CUDA")


def test_the_help_of_build_names_the_detectors() -> None:
    told = words(models("build", "--help", TERM="dumb"))
    assert "rtdetr_r18 or detr_resnet50" in told
