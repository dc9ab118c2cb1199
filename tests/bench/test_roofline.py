"""One measurement from end to end, as short as it goes: a server, the client, a table and a picture."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.samples
def test_the_roofline_has_a_figure_for_each_way(samples: Path, models_dir: Path, tmp_path: Path) -> None:
    png = tmp_path / "roofline.png"
    done = subprocess.run(
        [sys.executable, "-m", "bench.roofline", "--quick", "--precision", "fp32", "--png", str(png)],
        cwd=ROOT,
        env=os.environ | {"NINEFOLD_MODELS_DIR": str(models_dir), "NINEFOLD_SAMPLES": str(samples)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures = re.findall(r"^│ (.+?) +│ ([\d.]+) \(", done.stdout, re.MULTILINE)
    assert [name.split()[0].rstrip(",") for name, _ in figures] == [
        "decoding",
        "inference",
        "expected",
        "both",
        "served",
    ]
    assert all(float(figure) > 0 for _, figure in figures)
    assert png.read_bytes().startswith(b"\x89PNG")
