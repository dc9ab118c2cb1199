"""The artefacts that tests run on: built once by the real build, kept until its sources change."""

from __future__ import annotations

import hashlib
import shutil
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
    with alone(Path(__file__), "Another process of the tests builds the models; waiting for it …"):
        missing = [name for name in MODELS if not store.precisions(name)]
        if missing:
            _build(store, missing)
    return folder


@pytest.fixture(scope="session")
def int8_dir(models_dir: Path) -> Path:
    """A folder with efficientnet_lite0 in fp32 and in int8, as the real build makes it; not to be written to."""
    folder = CACHE / f"{models_dir.name}-int8"
    with alone(Path(__file__), "Another process of the tests makes int8; waiting for it …"):
        if not ArtefactStore(folder).get(Variant("efficientnet_lite0", "int8")):
            from inference.catalogue import BY_NAME
            from modelzoo.photographs import bundled
            from modelzoo.quantize import quantize

            shutil.copytree(models_dir / "efficientnet_lite0", folder / "efficientnet_lite0", dirs_exist_ok=True)
            quantize(BY_NAME["efficientnet_lite0"], ArtefactStore(folder), bundled())
    return folder


@pytest.fixture(scope="session")
def zoo_dir(models_dir: Path) -> Path:
    """A folder with the other architectures, seeded, in fp32, built by one command; not to be written to."""
    folder = CACHE / f"{models_dir.name}-zoo"
    with alone(Path(__file__), "Another process of the tests builds the other models; waiting for it …"):
        if not all(ArtefactStore(folder).precisions(name) for name in ZOO):
            from typer.testing import CliRunner

            from cli.main import app

            done = CliRunner().invoke(app, ["models", "build", *ZOO, "--models-dir", str(folder)])
            assert done.exit_code == 0 and "4 of 4 models are there." in done.stderr, done.stderr
    return folder


@pytest.fixture(scope="session")
def cuda_dir(models_dir: Path) -> Path:
    """A folder with both models as they are built for CUDA, and one in fp16 as well; not to be written to."""
    folder = CACHE / f"{models_dir.name}-cuda"
    store = ArtefactStore(folder)
    with alone(Path(__file__), "Another process of the tests builds for CUDA; waiting for it …"):
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


def _build(store: ArtefactStore, names: list[str]) -> None:
    from inference.catalogue import BY_NAME
    from modelzoo.build import build

    for old in CACHE.glob("*"):
        if not old.name.startswith(store.root.name):
            shutil.rmtree(old)
    for name in names:
        build(BY_NAME[name], store)


def _sources() -> str:
    digest = hashlib.sha256()
    for package in ("modelzoo", "inference", "contract"):
        for path in sorted((ROOT / package).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
