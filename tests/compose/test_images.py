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
    ("model", "why"), [("resnet18", "resnet18 cannot be built"), ("resnet", "there is no model 'resnet'")]
)
def test_an_image_for_a_model_has_that_model_or_there_is_none(images: dict[str, str], model: str, why: str) -> None:
    """Without the name another model would take its place; nothing listens where the weights are to come from."""
    nowhere = ["--build-arg", "NINEFOLD_WEIGHTS_MIRROR=http://127.0.0.1:9/"]
    command = ["docker", "build", "--progress=plain", "--file", "backend/Dockerfile", "--target", "artefacts"]
    done = subprocess.run(
        [*command, "--build-arg", f"NINEFOLD_MODEL={model}", *nowhere, "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode != 0 and why in done.stderr, done.stderr[-2000:]
