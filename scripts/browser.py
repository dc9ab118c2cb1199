"""A Chromium for the tests of the page: the one that is there, else one that can be had."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.refusal import speak
from scripts.venv import VENV

_NAMES = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")
_MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")
_PLAYWRIGHT_CACHES = (".cache/ms-playwright", "Library/Caches/ms-playwright")
_INSTALL_SECONDS = 600


def ensure_browser() -> None:
    """Finds or installs one. Without one says so and goes on: the tests of the page then skip."""
    if find_browser():
        return
    speak("Getting Chromium for the tests of the page (150 MB) …")
    for command in _installers():
        if _runs(command, _INSTALL_SECONDS) and find_browser():
            return
    speak("No Chromium could be had: the tests of the page will be skipped; install Chromium or Chrome to run them.")


def find_browser() -> str | None:
    """Where a Chromium is that starts, NINEFOLD_CHROMIUM first; None where there is none."""
    named = [path for path in map(shutil.which, _NAMES) if path]
    own = os.environ.get("NINEFOLD_CHROMIUM")
    candidates = [*([own] if own else []), *named, *([str(_MAC)] if _MAC.exists() else []), *_playwright_browsers()]
    # Ubuntu's chromium-browser is there without a browser behind it, so being there is not enough.
    return next((path for path in candidates if _runs([path, "--version"], 20)), None)


def _playwright_browsers() -> list[str]:
    named = os.environ.get("PLAYWRIGHT_BROWSERS_PATH")
    folders = [Path(named)] if named else [Path.home() / cache for cache in _PLAYWRIGHT_CACHES]
    patterns = ("chromium*/chrome-linux*/chrome", "chromium*/chrome-mac*/*.app/Contents/MacOS/*")
    return [str(path) for folder in folders for pattern in patterns for path in sorted(folder.glob(pattern))]


def _installers() -> list[list[str]]:
    playwright = [str(VENV / "bin" / "playwright"), "install", "chromium"]
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("apt-get"):
        return [playwright]
    if "ID=ubuntu" in Path("/etc/os-release").read_text(encoding="utf-8"):
        return [[*playwright, "--with-deps"]]  # Ubuntu's own package is a snap, which containers cannot run
    # A slim Debian has no lists of packages yet.
    apt = "apt-get update -q && apt-get install -qy --no-install-recommends chromium fonts-dejavu-core"
    return [["sh", "-c", apt], playwright]


def _runs(command: list[str], seconds: int) -> bool:
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    quiet = subprocess.DEVNULL if command[-1] == "--version" else None
    try:
        done = subprocess.run(command, env=env, stdout=quiet, stderr=quiet, check=False, timeout=seconds)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0
