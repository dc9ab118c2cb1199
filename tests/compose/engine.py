"""Docker for tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES = ("backend", "frontend", "proxy", "localcloud")
IMAGES = {name: f"ninefold-test-{name}" for name in SERVICES}


def docker(*arguments: str, env: Mapping[str, str] = {}, cwd: Path = ROOT, stdin: str = "") -> str:
    """What it prints; fails with what it complains of."""
    done = subprocess.run(
        ["docker", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    return done.stdout.strip()


def derived(tag: str, base: str, *lines: str) -> str:
    """An image made from another one by these lines of a Dockerfile; returns its tag."""
    docker("build", "--quiet", "--tag", tag, "-", stdin="\n".join([f"FROM {base}", *lines]))
    return tag
