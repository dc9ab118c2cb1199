"""What is in an image, and what is not."""

from __future__ import annotations

import subprocess

import pytest

from tests.compose.engine import ROOT, docker


def test_the_servers_image_is_small_and_has_no_torch(images: dict[str, str]) -> None:
    size = int(docker("image", "inspect", "--format", "{{.Size}}", images["backend"]))
    base = int(docker("image", "inspect", "--format", "{{.Size}}", "python:3.11-slim-bookworm"))
    print(f"the server's image: {size / 1e6:.0f} MB, of which the base has {base / 1e6:.0f}")
    assert size - base < 300e6
    packages = docker("run", "--rm", images["backend"], "ls", "/opt/venv/lib/python3.11/site-packages").split()
    assert "openvino" in packages and not {"torch", "nncf", "pip"} & set(packages)


@pytest.mark.parametrize(
    ("models", "why"),
    [("efficientnet_lite0 rtdetr_r18", "rtdetr_r18 cannot be built"), ("yolo", "there is no model 'yolo'")],
)
def test_an_image_for_further_models_has_all_of_them_or_there_is_none(
    images: dict[str, str], models: str, why: str
) -> None:
    done = build_artefacts(f"NINEFOLD_MODELS={models}", "HF_ENDPOINT=http://127.0.0.1:9")
    assert done.returncode != 0 and why in done.stderr, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("model", "why"), [("resnet18", "resnet18 cannot be built"), ("resnet", "there is no model 'resnet'")]
)
def test_an_image_for_a_model_has_that_model_or_there_is_none(images: dict[str, str], model: str, why: str) -> None:
    """Without the name another model would take its place; nothing listens where the weights are to come from."""
    done = build_artefacts(f"NINEFOLD_MODEL={model}", "NINEFOLD_WEIGHTS_MIRROR=http://127.0.0.1:9/")
    assert done.returncode != 0 and why in done.stderr, done.stderr[-2000:]


def build_artefacts(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The stage with the models; nothing is tagged."""
    given = [word for each in arguments for word in ("--build-arg", each)]
    command = ["docker", "build", "--progress=plain", "--file", "backend/Dockerfile", "--target", "artefacts"]
    return subprocess.run([*command, *given, "."], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
