"""The folder .venv: an accepted Python with uv in it, made with the Python at hand or with one that uv brings."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from scripts.refusal import AGAIN, Refusal, speak

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV = VENV / "bin" / "uv"
ACCEPTED = ((3, 11), (3, 12), (3, 13))
INSTALL_PYTHON = (
    "install Python 3.11 (Debian, Ubuntu: apt install python3.11 python3.11-venv; Mac: brew install python@3.11)"
)
_MADE_FOR = VENV / "made-for"


def ensure_venv() -> None:
    """A usable .venv with the pinned uv in it, however much of it was there before."""
    if not _usable():
        if sys.version_info[:2] in ACCEPTED:
            speak("Making .venv with Python {}.{} …".format(*sys.version_info))
            make_venv(VENV)
        else:
            _bring_python()
    _MADE_FOR.write_text(str(ROOT))
    if _answer(str(UV), "--version").split()[1:2] != [uv_pin().split("==")[1]]:
        install_uv(PYTHON)


def python_version() -> str:
    """Of .venv, for example "3.11.9"; "" where there is none."""
    return _answer(str(PYTHON), "-c", "import platform; print(platform.python_version())")


def make_venv(folder: Path) -> None:
    """An environment with pip, on the Python that runs this."""
    this = "{}.{}".format(*sys.version_info)
    if importlib.util.find_spec("ensurepip") is None:
        raise Refusal(f"install Python's venv module (Debian, Ubuntu: apt install python{this}-venv), {AGAIN}.")
    done = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Refusal(f"Python {this} could not make {folder} ({_last_line(done)}): put that right, {AGAIN}.")


def install_uv(python: Path) -> None:
    """The pinned uv, by that environment's pip."""
    speak("Getting uv, which installs everything else (25 MB) …")
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "10"]
    done = subprocess.run([*pip, "install", "-q", uv_pin()], capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    if "No space left" in done.stderr:
        raise Refusal(f"the disk is full: free some space, {AGAIN}.")
    raise Refusal(
        f"the Python package index cannot be reached: connect to the network (a proxy goes into HTTPS_PROXY), {AGAIN}."
    )


def uv_pin() -> str:
    """The line of requirements/uv.txt that names the version."""
    lines = (ROOT / "requirements" / "uv.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if line.startswith("uv=="))


def _usable() -> bool:
    moved = _MADE_FOR.is_file() and _MADE_FOR.read_text() != str(ROOT)
    return not moved and python_version().rpartition(".")[0] in ("{}.{}".format(*version) for version in ACCEPTED)


def _bring_python() -> None:
    here = "{}.{}".format(*sys.version_info)
    speak(f"Python {here} is not one the pinned packages are made for; getting Python 3.11 (30 MB) …")
    with tempfile.TemporaryDirectory(prefix="ninefold-") as scratch:
        make_venv(Path(scratch) / "uv")
        install_uv(Path(scratch) / "uv" / "bin" / "python")
        command = [str(Path(scratch) / "uv" / "bin" / "uv"), "venv", "--python", "3.11", "--seed", "--clear", str(VENV)]
        env = {**os.environ, "UV_HTTP_RETRIES": "1", "UV_HTTP_CONNECT_TIMEOUT": "5"}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        shutil.rmtree(VENV, ignore_errors=True)
        raise Refusal(f"only Python {here} is here, and a 3.11 could not be downloaded: {INSTALL_PYTHON}, {AGAIN}.")


def _answer(*command: str) -> str:
    """What a program prints; "" where it cannot be run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    return ((done.stderr or done.stdout).strip().splitlines() or ["no reason given"])[-1].rstrip(".:")
