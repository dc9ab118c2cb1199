"""The exact pins into .venv, by uv: which build of PyTorch, whether the disk holds it, and what went wrong."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple, Sequence

from scripts.refusal import AGAIN, Refusal, speak
from scripts.venv import PYTHON, ROOT, UV, VENV, python_version
from scripts.watched import run_watched

REQUIREMENTS = ROOT / "requirements"
CONSTRAINTS = REQUIREMENTS / "constraints.txt"
_PRODUCT = ("backend", "live", "frontend", "cli", "modelzoo", "localcloud", "run")
GROUPS = {
    "run": _PRODUCT,
    "test": (*_PRODUCT, "test", "bench"),
    "check": (*_PRODUCT, "test", "bench", "check"),
    "models": ("cli", "modelzoo"),  # the stage of the server's image that builds them
}
_UV_PIP = [str(UV), "pip", "install", "--python", str(PYTHON)]
_PROBE_SECONDS = 10
_NETWORK_WORDS = ("Failed to fetch", "error sending request", "dns error", "timed out", "Failed to download", "Connect")


class TorchBuild(NamedTuple):
    """Which PyTorch, why in words, and the gigabytes that all packages together then need."""

    options: tuple[str, ...]
    why: str
    gigabytes: float


CPU_BUILD = TorchBuild(("--torch-backend=cpu",), "PyTorch: its CPU build, from PyTorch's own index (200 MB).", 2.5)
MAC_BUILD = TorchBuild((), "PyTorch: the plain package, which on a Mac is the CPU build (100 MB).", 2.5)
PLAIN_BUILD = TorchBuild(
    (),
    "PyTorch: the plain package, since PyTorch's own index with the CPU build does not answer from here. It brings\n"
    "NVIDIA's libraries along: 3 GB to download, 5.4 GB on disk, and nothing here uses them without such a GPU.",
    8,
)
TORCH_IS_THERE = TorchBuild((), "", 0.5)


def install(group: str) -> None:
    """What `group` needs, and the project itself, so that .venv/bin/ninefold is there."""
    build = _torch_build()
    require_space(build.gigabytes, ROOT, _existing(_cache_folder()))
    if build.why:
        speak(build.why)
    speak("Installing packages …")
    files = [part for name in GROUPS[group] for part in ("-r", str(REQUIREMENTS / f"{name}.txt"))]
    _uv_install([*build.options, *files, "setuptools"])
    _uv_install(["--quiet", "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def require_space(gigabytes: float, *folders: Path) -> None:
    """Refuses to begin what the disks of these folders cannot hold."""
    for folder in folders:
        free = shutil.disk_usage(folder).free / 1e9
        if free < gigabytes:
            raise Refusal(
                f"free {gigabytes - free:.1f} GB on the disk of {folder}, {AGAIN}: "
                f"the packages need about {gigabytes:g} GB, and {free:.1f} GB are free."
            )


def least_gigabytes() -> float:
    """What set-up takes at the very least, before it is known which PyTorch it will be."""
    return TORCH_IS_THERE.gigabytes if _torch_is_there() else CPU_BUILD.gigabytes


def explain(said: str) -> str:
    """The sentence for what uv said last."""
    if "No space left on device" in said or "os error 28" in said:
        return f"the disk is full: free some space, {AGAIN}."
    if any(word in said for word in _NETWORK_WORDS):
        return f"the packages cannot be reached: connect to the network (a proxy goes into HTTPS_PROXY), {AGAIN}."
    machine = f"{platform.system()} {platform.machine()} with Python {python_version()}"
    return f"uv could not install the packages on this machine ({machine}): see what it says above, {AGAIN}."


def _torch_build() -> TorchBuild:
    if _torch_is_there():
        return TORCH_IS_THERE
    if sys.platform == "darwin":
        return MAC_BUILD
    speak(f"Asking PyTorch's own index for the CPU build (at most {_PROBE_SECONDS} s) …")
    return CPU_BUILD if _cpu_index_answers() else PLAIN_BUILD


def _torch_is_there() -> bool:
    pin = next(line for line in CONSTRAINTS.read_text(encoding="utf-8").splitlines() if line.startswith("torch=="))
    name = pin.split(";")[0].strip().replace("==", "-")
    site_packages = VENV.glob("lib/python3.*/site-packages")
    return any(list(folder.glob(f"{name}[.+]*dist-info")) for folder in site_packages)


def _cpu_index_answers() -> bool:
    command = [*_UV_PIP, "--dry-run", "--no-deps", "--quiet", *CPU_BUILD.options, "-c", str(CONSTRAINTS)]
    env = {**os.environ, "UV_HTTP_RETRIES": "1", "UV_HTTP_CONNECT_TIMEOUT": "4", "UV_HTTP_TIMEOUT": "8"}
    try:
        done = subprocess.run(
            [*command, "torch", "torchvision"], env=env, capture_output=True, check=False, timeout=_PROBE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


def _uv_install(arguments: Sequence[str]) -> None:
    constraints = ["-c", str(CONSTRAINTS), "--build-constraints", str(CONSTRAINTS)]
    code, said = run_watched([*_UV_PIP, *constraints, *arguments], os.environ)
    if code < 0 or code == 130:
        raise KeyboardInterrupt
    if code:
        raise Refusal(explain(said))


def _cache_folder() -> Path:
    answer = subprocess.run([str(UV), "cache", "dir"], capture_output=True, text=True, check=False)
    return Path(answer.stdout.strip() or ROOT)


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
