"""The file of a host's settings, a line NAME=value each: one is read, or replaced so that no reader sees half."""

from __future__ import annotations

import os
from pathlib import Path


def read_value(path: Path, name: str) -> str:
    """The value of `name`; "" where it has none."""
    return next((line[len(name) + 1 :] for line in _lines(path) if line.startswith(f"{name}=")), "")


def write_value(path: Path, name: str, value: str) -> None:
    """Replaces the line of `name`, or adds one; the file's mode stays."""
    lines = [line for line in _lines(path) if not line.startswith(f"{name}=")]
    scratch = path.with_name(f"{path.name}.new")
    scratch.write_text("".join(f"{line}\n" for line in [*lines, f"{name}={value}"]), encoding="utf-8")
    scratch.chmod(path.stat().st_mode)
    with scratch.open("rb") as written:
        os.fsync(written.fileno())
    scratch.replace(path)


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()
