"""The artefacts that tests run on: built once by the real build, kept until its sources change."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from inference.artefacts import Artefact, ArtefactStore, Variant
from scripts.alone import alone

ROOT = Path(__file__).parent.parent
CACHE = ROOT / ".test-artefacts"
MODELS = ("efficientnet_lite0", "resnet18-seeded")
ZOO = ("resnet50-seeded", "mobilenet_v2-seeded", "mobilenet_v3_large-seeded", "xception-seeded")


@pytest.fixture(scope="session")
def models_dir() -> Path:
    """A folder with efficientnet_lite0 and resnet18-seeded in fp32, not to be written to."""
    folder = CACHE / _sources()
    store = ArtefactStore(folder)
    with _alone(folder):
        missing = [name for name in MODELS if not store.precisions(name)]
        if missing:
            _clear(but=folder.name)
            _ninefold("models", "build", *missing, "--models-dir", str(folder))
    return folder


@pytest.fixture(scope="session")
def int8_dir(models_dir: Path) -> Path:
    """A folder with efficientnet_lite0 in fp32 and in int8, as the real build makes it; not to be written to."""
    folder = CACHE / f"{models_dir.name}-int8"
    with _alone(folder):
        if not ArtefactStore(folder).get(Variant("efficientnet_lite0", "int8")):
            shutil.copytree(models_dir / "efficientnet_lite0", folder / "efficientnet_lite0", dirs_exist_ok=True)
            _ninefold("models", "quantize", "efficientnet_lite0", "--models-dir", str(folder))
    return folder


@pytest.fixture(scope="session")
def zoo_dir(models_dir: Path) -> Path:
    """A folder with the other architectures, seeded, in fp32, built by one command; not to be written to."""
    folder = CACHE / f"{models_dir.name}-zoo"
    with _alone(folder):
        if not all(ArtefactStore(folder).precisions(name) for name in ZOO):
            assert "4 of 4 models are there." in _ninefold("models", "build", *ZOO, "--models-dir", str(folder))
    return folder


@pytest.fixture(scope="session")
def cuda_dir(models_dir: Path) -> Path:
    """A folder with both models as they are built for CUDA, and one in fp16 as well; not to be written to."""
    folder = CACHE / f"{models_dir.name}-cuda"
    store = ArtefactStore(folder)
    with _alone(folder):
        if not store.get(Variant("resnet18-seeded", "fp16")):
            from inference.catalogue import BY_NAME
            from modelzoo.build import build
            from modelzoo.photographs import bundled
            from modelzoo.quantize import lower_for_cuda

            for name in MODELS:
                build(BY_NAME[name], store, device="CUDA")
            lower_for_cuda(BY_NAME["resnet18-seeded"], store, bundled(), gate_crops=16)
    return folder


@pytest.fixture(scope="session")
def store(models_dir: Path) -> ArtefactStore:
    return ArtefactStore(models_dir)


@pytest.fixture(scope="session")
def efficientnet(store: ArtefactStore) -> Artefact:
    artefact = store.get(Variant("efficientnet_lite0", "fp32"))
    assert artefact is not None
    return artefact


@pytest.fixture(scope="session")
def seeded(store: ArtefactStore) -> Artefact:
    artefact = store.get(Variant("resnet18-seeded", "fp32"))
    assert artefact is not None
    return artefact


def _alone(folder: Path) -> AbstractContextManager[None]:
    """So that of two workers one makes what is in the folder, and the other waits for it."""
    folder.mkdir(parents=True, exist_ok=True)
    return alone(folder, f"Another process of the tests makes {folder.name}; waiting for it …")


def _ninefold(*arguments: str) -> str:
    """Runs the command in a process of its own: its memory goes with it, and nobody counts its lines. What it says."""
    command = [sys.executable, "-m", "cli.main", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def _clear(but: str) -> None:
    """Removes what was built of other sources."""
    for old in CACHE.glob("*"):
        if not old.name.startswith(but):
            shutil.rmtree(old)


def _sources() -> str:
    digest = hashlib.sha256()
    for package in ("modelzoo", "inference", "contract"):
        for path in sorted((ROOT / package).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
