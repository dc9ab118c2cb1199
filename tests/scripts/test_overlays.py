"""The overlays for a GPU and an accelerator and the stages they build, read as text: neither device is here."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.settings import Settings
from inference.devices import is_cuda
from scripts.compose import OVERLAYS

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "backend" / "Dockerfile").read_text(encoding="utf-8")


def backend(name: str) -> dict[str, Any]:
    """What the overlay says of the server; it must say nothing of the others."""
    services = yaml.safe_load((ROOT / OVERLAYS[name]).read_text(encoding="utf-8"))["services"]
    assert list(services) == ["backend"]
    return services["backend"]


def default(value: str) -> str:
    """What a variable of Compose stands for where it is not set."""
    found = re.fullmatch(r"\$\{\w+:-(.*)\}", value)
    assert found, value
    return found[1]


def stages(deployment: str) -> dict[str, str]:
    """Every stage of the server's image and what it is made from."""
    named = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    return {stage: base.replace("${DEPLOYMENT}", deployment) for base, stage in named}


def made_of(stage: str, deployment: str) -> list[str]:
    """A stage, and those below it."""
    found, known = [], stages(deployment)
    while stage in known:
        found.append(stage)
        stage = known[stage]
    return found


@pytest.mark.parametrize("name", OVERLAYS)
def test_an_overlay_names_its_own_image_a_deployment_and_its_device(name: str) -> None:
    service = backend(name)
    args = service["build"]["args"]
    assert default(service["image"]) == f"ninefold-backend-{name}" and args["DEPLOYMENT"] == name
    assert default(service["environment"]["NINEFOLD_DEVICE"]) == args["NINEFOLD_DEVICE"]
    assert is_cuda(args["NINEFOLD_DEVICE"]) == (name == "gpu")
    assert {f"NINEFOLD_{field.upper()}" for field in Settings.model_fields} >= set(service["environment"])


def test_the_gpu_is_reserved_and_the_accelerators_device_is_passed_on() -> None:
    (device,) = backend("gpu")["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    accelerator = backend("accelerator")
    assert [default(node) for node in accelerator["devices"]] == ["/dev/dri"]
    assert ":?" in accelerator["group_add"][0]


def test_on_a_gpu_several_variants_have_room_and_the_start_may_take_its_time() -> None:
    gpu = backend("gpu")
    room = int(default(gpu["environment"]["NINEFOLD_MODEL_MEMORY_MB"]))
    assert room > 3 * Settings.model_fields["model_memory_mb"].default
    assert gpu["healthcheck"] == {"start_period": "10m"}, "what is asked is the image's own"


def test_triton_has_a_compiler_and_a_cache_that_the_server_may_write_and_run_from() -> None:
    (stage,) = re.findall(r"^FROM base-cpu AS base-gpu\n(.*?)(?=^FROM )", DOCKERFILE, re.MULTILINE | re.DOTALL)
    assert {"gcc", "libc6-dev"} <= set(stage.split()) and "rm -rf /var/lib/apt/lists/*" in stage
    assert DOCKERFILE.count("gcc") == 1, "no other image has a compiler"
    (cache,) = re.findall(r"^ENV TRITON_CACHE_DIR=(\S+)$", stage, re.MULTILINE)
    (user,) = re.findall(r"^USER (\d+)$", DOCKERFILE, re.MULTILINE)
    assert f"install -d -o {user} -g {user} {cache}" in stage, "a new volume has the owner of what it covers"
    overlay = yaml.safe_load((ROOT / OVERLAYS["gpu"]).read_text(encoding="utf-8"))
    (volume,) = overlay["services"]["backend"]["volumes"]
    name, _, target = volume.partition(":")
    assert target == cache and name in overlay["volumes"]
    assert re.search(
        r"^triton==", (ROOT / "requirements" / "backend-gpu.txt").read_text(encoding="utf-8"), re.MULTILINE
    )


def test_each_deployment_has_its_stages_and_the_cpus_is_the_default() -> None:
    assert re.search(r"^ARG DEPLOYMENT=cpu$", DOCKERFILE.split("FROM", 1)[0], re.MULTILINE)
    for name in ("cpu", *OVERLAYS):
        assert f"packages-{name}" in made_of("packages", name) and f"base-{name}" in made_of("runtime", name)
    assert "packages-gpu" not in made_of("packages", "cpu") and "packages-cpu" not in made_of("packages", "accelerator")
    assert list(stages("cpu"))[-1] == "runtime"


def test_torch_is_in_the_gpus_image_alone_and_the_same_as_the_builds() -> None:
    def torch(name: str) -> list[str]:
        return re.findall(r"^torch==.*$", (ROOT / "requirements" / name).read_text(encoding="utf-8"), re.MULTILINE)

    assert torch("backend-gpu.txt") == torch("modelzoo.txt") and torch("backend.txt") == []
    stage = re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)
    assert [part.split("\n", 1)[0] for part in stage if "backend-gpu.txt" in part.split("\n", 1)[-1]] == [
        "packages-cpu AS packages-gpu"
    ]


@pytest.mark.parametrize("words", [("up", "tpu"), ("down", "gpu"), ("up", "gpu", "accelerator"), ()])
def test_one_at_a_time_and_only_what_there_is(words: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.compose", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "say up, up gpu, up accelerator, or down" in done.stderr
