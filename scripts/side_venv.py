"""What environments beside .venv share: what decides what is in one, and how uv fills it. Any Python since 3.8."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Sequence

from scripts.packages import explain
from scripts.refusal import Refusal
from scripts.venv import UV
from scripts.watched import run_watched


def fingerprint_of(folder: Path, pins: Sequence[Path]) -> str:
    """Of all that decides what is in the environment: its place, its pins, its Python."""
    digest = hashlib.sha256(str(folder).encode())
    for path in (*pins, folder / "pyvenv.cfg"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_uv(*arguments: str) -> None:
    """Raises Refusal with the words for what went wrong, and KeyboardInterrupt where it was interrupted."""
    code, said = run_watched([str(UV), *arguments], os.environ)
    if code < 0 or code == 130:
        raise KeyboardInterrupt
    if code:
        raise Refusal(explain(said))
