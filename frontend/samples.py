"""The nine freely licensed pictures behind "Try it with samples"; samples/CREDITS.md names their authors."""

from __future__ import annotations

from pathlib import Path

__all__ = ["SAMPLES", "samples"]

_FOLDER = Path(__file__).resolve().parent / "samples"
SAMPLES = (
    "cat.jpg", "espresso.jpg", "macaw.jpg", "viaduct.jpg", "german-shepherd.jpg", "polar-bear.jpg", "lemur.jpg",
    "koala.jpg", "bison.jpg",
)  # fmt: skip


def samples() -> list[tuple[str, bytes]]:
    """(name, bytes) of each, in the order they look best in."""
    return [(name, (_FOLDER / name).read_bytes()) for name in SAMPLES]
