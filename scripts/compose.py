"""`make up` and `make down`: the same application in containers, by any Docker that answers. Any Python since 3.8.

python3 -m scripts.compose up [gpu|accelerator] | down
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Sequence

from scripts.refusal import AGAIN, Refusal, guarded, speak

ROOT = Path(__file__).resolve().parent.parent
OVERLAYS = {name: f"docker-compose.{name}.yml" for name in ("gpu", "accelerator")}
_ANSWER_SECONDS = 20
_LEAST_COMPOSE = (2, 24)  # whose files may name an env_file that need not be there
_READY_SECONDS, _READY_SECONDS_ON_A_DEVICE = 180, 600


def main() -> int:
    """0 when everything is ready, or gone."""
    words = sys.argv[1:]
    if words not in (["up"], ["down"], *(["up", each] for each in OVERLAYS)):
        raise Refusal(f"say up, up {', up '.join(OVERLAYS)}, or down.")
    require_docker()
    if words == ["down"]:
        return _compose("down", "--volumes", "--remove-orphans", "--timeout", "45")
    if not os.environ.get("NINEFOLD_REVISION"):
        os.environ["NINEFOLD_REVISION"] = revision()
    speak("Building the images (the first time PyTorch is fetched for the models' stage: 200 MB to 3 GB) …")
    files = [str(ROOT / OVERLAYS[each]) for each in words[1:]]
    seconds = str(_READY_SECONDS_ON_A_DEVICE if files else _READY_SECONDS)
    if _compose("build", files=files) or _compose("up", "--detach", "--wait", "--wait-timeout", seconds, files=files):
        raise Refusal("the containers are not up: see what Docker says above; `docker compose logs` has their words.")
    port = os.environ.get("NINEFOLD_PAGE_PORT") or "8501"
    speak(f"\nNinefold is ready: http://127.0.0.1:{port}\n`make down` ends it; uploads and results are gone then.")
    return 0


def require_docker() -> None:
    """Refuses in one sentence where no Docker answers, or one without Compose."""
    if shutil.which("docker") is None:
        raise Refusal(f"install Docker with Compose, {AGAIN}; or take `make run`, which needs no Docker.")
    if not _answers("docker", "version"):
        raise Refusal(f"no Docker answers here: start it, {AGAIN}; or take `make run`, which needs no Docker.")
    if not _answers("docker", "compose", "version"):
        raise Refusal(f"install Docker's Compose plugin, {AGAIN}; or take `make run`, which needs no Docker.")
    found = _compose_version()
    if found and found < _LEAST_COMPOSE:
        least, here = (".".join(map(str, each)) for each in (_LEAST_COMPOSE, found))
        raise Refusal(f"Docker's Compose plugin is {here}, and {least} or newer is needed: update it, {AGAIN}.")


def revision() -> str:
    """The commit that is checked out, "-dirty" behind it where files differ; "" outside of git."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=str(ROOT), capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _compose_version() -> tuple[int, ...]:
    """Major and minor; empty where it does not say."""
    command = ("docker", "compose", "version", "--short")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_ANSWER_SECONDS)
    found = re.match(r"v?(\d+)\.(\d+)", done.stdout)
    return tuple(int(part) for part in found.groups()) if found else ()


def _answers(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_ANSWER_SECONDS)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


def _compose(*arguments: str, files: Sequence[str] = ()) -> int:
    # Its own files alone: a COMPOSE_FILE of the environment, or a host's .env, is about another place.
    named = [word for file in (str(ROOT / "docker-compose.yml"), *files) for word in ("--file", file)]
    command = ["docker", "compose", "--env-file", os.devnull, *named, *arguments]
    return subprocess.run(command, cwd=str(ROOT), check=False).returncode


if __name__ == "__main__":
    sys.exit(guarded(main))
