"""A disk that is full: a file system of five megabytes of its own."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty folder that holds 5 MB. Needs the right to mount (Linux, root)."""
    folder = tmp_path / "small"
    folder.mkdir()
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=5m", "none", str(folder)], capture_output=True, check=False
        ).returncode
    except FileNotFoundError:
        mounted = 1
    if mounted:
        pytest.skip("a small disk cannot be mounted here: that takes Linux and root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
