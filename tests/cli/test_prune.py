"""`ninefold models prune`: options that contradict, bad data in words, Ctrl-C and what comes after it, a full disk."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from cli.main import app
from inference.artefacts import Artefact, ArtefactStore, Variant
from tests.servers import ROOT

NAME = "resnet18-seeded"


@pytest.fixture
def models(seeded: Artefact, tmp_path: Path) -> Path:
    shutil.copytree(seeded.folder, tmp_path / "models" / NAME / "fp32")
    return tmp_path / "models"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Twelve labelled pictures of noise."""
    folder = tmp_path / "pictures"
    for number in range(12):
        (folder / str(number % 2)).mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(0, 256, (60, 80, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / str(number % 2) / f"{number:02d}.png")
    return folder


def prune(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", "prune", *map(str, arguments)])


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


def test_stopped_by_ctrl_c_it_goes_on_and_ends_in_a_table(models: Path, pictures: Path) -> None:
    arguments = ["--models-dir", models, "--data", pictures, "--held-out", "0.25", "--steps", "6", "--batch", "1"]
    with _started(arguments) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("step 2 of 6"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(60) == 130 and "goes on from there" in rest, rest
    assert len(list((models / ".pruning" / NAME).iterdir())) == 1
    done = prune(NAME, *arguments)
    assert done.exit_code == 0 and "Going on after step" in done.stderr and "step 1 of 6" not in done.stderr
    assert "top-1, validation, 3 images" in done.stdout and "50.0%" in done.stdout and "zipped" in done.stdout
    assert not (models / ".pruning").exists()
    assert ArtefactStore(models).get(Variant(NAME, "pruned")) is not None
    assert "pruned is there" in prune(NAME, *arguments).stderr


def test_a_full_disk_is_one_sentence(seeded: Artefact, pictures: Path, full_disk: Path) -> None:
    (full_disk / NAME).mkdir()
    (full_disk / NAME / "fp32").symlink_to(seeded.folder)
    result = prune(NAME, "--models-dir", full_disk, "--data", pictures, "--steps", "1", "--batch", "1")
    assert result.exit_code == 1 and "No space left" in result.stderr and "--models-dir" in result.stderr
    assert [path.name for path in (full_disk / NAME).iterdir()] == ["fp32"]


def _started(arguments: list[str | Path]) -> subprocess.Popen[str]:
    code = "from cli.main import app; app()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "models", "prune", NAME, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stderr=subprocess.PIPE,
        text=True,
    )
