"""`ninefold models prune`: options that contradict, bad data in words, Ctrl-C and what comes after it, a full disk."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import modelzoo.prune
from cli.main import app
from inference.artefacts import ArtefactStore, Variant
from inference.catalogue import Model
from inference.pruning import Pruning
from modelzoo.finetune import Settings, Stopped
from modelzoo.material import Material
from tests import tiny
from tests.servers import ROOT

NAME = tiny.NAME
SHORT = ["--held-out", "0.25", "--steps", "4", "--batch", "1"]


@pytest.fixture(scope="module")
def fp32(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with the tiny network in fp32, not to be written to."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.build_tiny(folder)
    return folder


@pytest.fixture
def models(fp32: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(modelzoo.prune, "build_network", tiny.build_network)
    shutil.copytree(fp32, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return noise(tmp_path / "pictures", 0)


def noise(folder: Path, seed: int) -> Path:
    """Twelve labelled pictures of noise."""
    random = np.random.default_rng(seed)
    for number in range(12):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        picture = random.integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(picture).save(folder / str(number % 2) / f"{number:02d}.png")
    return folder


def prune(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", "prune", *map(str, arguments)])


def pruning(models: Path) -> Pruning:
    artefact = ArtefactStore(models).get(Variant(NAME, "pruned"))
    assert artefact is not None and artefact.card.pruning is not None
    return artefact.card.pruning


CTRL_C = """
import signal, sys
import modelzoo.prune
from cli.main import app
from modelzoo.finetune import FineTuning
from tests import tiny

def interrupted(original, turn):
    calls = iter(range(1, 1000))
    def call(*arguments, **named):
        if next(calls) == turn:
            signal.raise_signal(signal.SIGINT)
        return original(*arguments, **named)
    return call

modelzoo.prune.build_network = tiny.build_network
if sys.argv[1] == "learning":
    FineTuning._learn = interrupted(FineTuning._learn, 2)
else:
    modelzoo.prune.write_ir = interrupted(modelzoo.prune.write_ir, 1)
app(["models", "prune", *sys.argv[2:]])
"""


def interrupted(when: str, *arguments: str | Path) -> tuple[int, str]:
    """The exit code and the words of a process of its own, which Ctrl-C meets while it is `learning` or `comparing`."""
    command = [sys.executable, "-c", CTRL_C, when, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--data", "a", "--pictures", "b"], "name one of them"),
        (["--validation", "a"], "--validation is for --data"),
        (["--steps", "2", "--epochs", "1"], "--steps and --epochs"),
        (["--sparsity", "1.5"], "--sparsity"),
    ],
)
def test_options_that_contradict_are_refused(arguments: list[str], words: str) -> None:
    result = prune(NAME, *arguments)
    assert result.exit_code == 2 and words in result.stderr


def test_a_model_that_is_not_there_says_what_adds_it(tmp_path: Path) -> None:
    missing = prune(NAME, "--models-dir", tmp_path)
    assert missing.exit_code == 1 and f"models build {NAME}" in missing.stderr
    assert "no model" in prune("alexnet", "--models-dir", tmp_path).stderr


def test_bad_data_is_one_sentence(models: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        (["--data", tmp_path / "nowhere"], "nowhere is not there"),
        (["--pictures", tmp_path / "empty"], "has 0 pictures; at least 10"),
        (["--data", pictures, "--held-out", "0.01"], "too few"),
        (["--data", pictures, "--validation", pictures], "is in both"),
    ):
        result = prune(NAME, "--models-dir", models, *arguments)
        assert result.exit_code == 1 and words in result.stderr.replace("\n", " "), result.stderr
        assert f"{NAME} was not pruned" in result.stderr
    assert not (models / NAME / "pruned").exists()


def test_bad_pictures_are_named_before_the_first_step(models: Path, pictures: Path) -> None:
    cut, other = pictures / "0" / "00.jpg", pictures / "1" / "01.tif"
    with Image.open(pictures / "0" / "00.png") as picture:
        picture.save(cut)
        picture.save(other)
    cut.write_bytes(cut.read_bytes()[:1500])
    result = prune(NAME, "--models-dir", models, "--data", pictures, *SHORT)
    words = result.stderr.replace("\n", " ")
    assert result.exit_code == 1 and "00.jpg" in words and "01.tif" in words and "Take it out" in words, words
    assert "step" not in words and not (models / ".pruning").exists()


def test_stopped_by_ctrl_c_it_goes_on_and_ends_in_a_table(models: Path, pictures: Path) -> None:
    arguments = [NAME, "--models-dir", models, "--data", pictures, *SHORT]
    code, words = interrupted("learning", *arguments)
    assert code == 130 and "after 2 of 4 steps. The same command goes on from there" in words, words
    assert len(list((models / ".pruning" / NAME).iterdir())) == 1
    code, words = interrupted("comparing", *arguments)
    assert code == 130 and "Going on after step 2" in words, words
    assert "stopped while the two were compared" in words and not (models / NAME / "pruned").exists()
    done = prune(*arguments)
    assert done.exit_code == 0 and "Going on after step 4" in done.stderr and "step 1 of 4" not in done.stderr
    assert "top-1, validation, 3 images" in done.stdout and "50.0%" in done.stdout and "zipped" in done.stdout
    assert not (models / ".pruning").exists()
    assert pruning(models).sparsity == pytest.approx(0.5, abs=1e-3)


def test_it_is_there_for_the_same_pictures_and_the_same_settings_alone(
    models: Path, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def again(data: Path, *more: str | Path) -> bool:
        result = prune(NAME, "--models-dir", models, "--data", data, *SHORT, *more)
        assert result.exit_code == 0, result.stderr
        return "pruned is there" in result.stderr

    judges, others = noise(tmp_path / "judges", 1), noise(tmp_path / "others", 2)
    assert not again(pictures, "--validation", judges)
    monkeypatch.setattr(modelzoo.prune, "prune", lambda *_, **__: ArtefactStore(models).get(Variant(NAME, "pruned")))
    assert again(pictures, "--validation", judges)
    assert not again(pictures) and not again(pictures, "--validation", judges, "--seed", "1")
    assert not again(pictures, "--validation", others) and not again(others, "--validation", judges)
    shutil.move(judges / "0" / "00.png", judges / "1" / "00.png")
    assert not again(pictures, "--validation", judges)


def test_without_labels_the_share_of_the_dense_network_is_one(
    models: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_model: Model, _store: ArtefactStore, _material: Material, settings: Settings, **_: object) -> None:
        raise Stopped(f"distillation {settings.distillation}")

    monkeypatch.setattr(modelzoo.prune, "prune", stopped)
    assert "distillation 1.0" in prune(NAME, "--models-dir", models, "--pictures", pictures).stderr
    assert "distillation 0.5" in prune(NAME, "--models-dir", models, "--data", pictures).stderr


def test_the_environment_names_the_model(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NINEFOLD_MODEL", "resnet50")
    result = prune("--models-dir", models)
    assert result.exit_code == 1 and "resnet50" in result.stderr


def test_a_full_disk_is_one_sentence(fp32: Path, models: Path, pictures: Path, full_disk: Path) -> None:
    (full_disk / NAME).mkdir()
    (full_disk / NAME / "fp32").symlink_to(fp32 / NAME / "fp32")
    (full_disk / "rest").write_bytes(b"x" * 4_900_000)
    result = prune(NAME, "--models-dir", full_disk, "--data", pictures, "--steps", "1", "--batch", "1")
    assert result.exit_code == 1 and "No space left" in result.stderr and "--models-dir" in result.stderr
    assert [path.name for path in (full_disk / NAME).iterdir()] == ["fp32"]
