"""Brings a bare machine to where a target can run: .venv, exact pins, for tests a browser and Spark. Twice is free.

Runs on the standard library of any Python since 3.8, because it is what runs before anything is there.
"""

from __future__ import annotations

import hashlib
import sys
import time
from pathlib import Path

from scripts.alone import alone
from scripts.browser import ensure_browser
from scripts.glue_venv import ensure_glue_venv
from scripts.packages import CONSTRAINTS, GROUPS, REQUIREMENTS, install, least_gigabytes, require_space
from scripts.refusal import Refusal, guarded, speak
from scripts.venv import PYTHON, ROOT, VENV, ensure_venv


def main() -> int:
    """`python -m scripts.setup GROUP`: 0 when what the group needs is there."""
    groups = sys.argv[1:]
    if len(groups) != 1 or groups[0] not in GROUPS:
        raise Refusal(f"say what to set up for: {', '.join(GROUPS)}.")
    with alone(CONSTRAINTS, "Another set-up of this folder is at work; waiting for it …"):
        set_up(groups[0])
    if groups[0] == "test":
        ensure_browser()
        ensure_glue_venv()
    return 0


def set_up(group: str) -> None:
    """The packages of `group`, unless its stamp says that they are there."""
    if is_current(group):
        return
    begun = time.monotonic()
    speak(f"Setting up {VENV} (first time, or its pins have changed) …")
    require_space(least_gigabytes(), ROOT)
    ensure_venv()
    install(group)
    for name, files in GROUPS.items():
        if set(files) <= set(GROUPS[group]):
            _stamp(name).write_text(fingerprint(name))
    speak(f"Set up in {time.monotonic() - begun:.0f} s.")


def is_current(group: str) -> bool:
    """Whether the stamp was written for the same pins, Python and place."""
    try:
        return PYTHON.exists() and _stamp(group).read_text() == fingerprint(group)
    except FileNotFoundError:
        return False


def fingerprint(group: str) -> str:
    """Of all that decides what is in .venv for the group."""
    files = [REQUIREMENTS / f"{name}.txt" for name in (*GROUPS[group], "constraints", "uv")]
    digest = hashlib.sha256(str(ROOT).encode())
    for path in (*files, ROOT / "pyproject.toml", VENV / "pyvenv.cfg"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _stamp(group: str) -> Path:
    return VENV / f"set-up-for-{group}"


if __name__ == "__main__":
    sys.exit(guarded(main))
