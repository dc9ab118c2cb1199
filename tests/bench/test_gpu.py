"""The measurement on a GPU where there is none: it says so; and a dry run of all it does."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bench import gpu

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_cuda_device_it_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.gpu"])
    with pytest.raises(SystemExit) as ended:
        gpu.main()
    said = capsys.readouterr()
    assert ended.value.code == 2 and said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith("bench: this measurement needs a CUDA device: ")


def test_a_model_that_is_not_there_comes_with_its_command(monkeypatch: pytest.MonkeyPatch, models_dir: Path) -> None:
    monkeypatch.setenv("NINEFOLD_MODELS_DIR", str(models_dir))
    with pytest.raises(SystemExit, match="ninefold models build resnet18-seeded --device CUDA"):
        gpu.chosen("resnet18-seeded", "fp16")


def test_a_dry_run_has_a_figure_for_each_way_and_says_that_it_is_none_of_a_gpu(cuda_dir: Path, tmp_path: Path) -> None:
    png = tmp_path / "gpu.png"
    words = ["--device", "cpu", "--quick", "--models", "resnet18-seeded", "--png", str(png)]
    done = subprocess.run(
        [sys.executable, "-m", "bench.gpu", *words],
        cwd=ROOT,
        env=os.environ | {"NINEFOLD_SAMPLES": "", "NINEFOLD_MODELS_DIR": str(cuda_dir)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "no figure here says anything about a GPU" in done.stdout
    rows = re.findall(r"^│ (.+?) +│ ([\d.]+) \(.*?│ ([\d.]+) % ", done.stdout, re.MULTILINE)
    assert [name for name, _, _ in rows] == ["bare, 4 at a time", gpu.SEAM, gpu.DECODE, gpu.WHOLE]
    assert all(float(rate) > 0 for _, rate, _ in rows) and rows[0][2] == "100"
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_dry_run_of_decoding_tells_levels_and_answers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], models_dir: Path, tmp_path: Path
) -> None:
    labels = {"koala.jpg": 105, "macaw.jpg": 88}
    for name in labels:
        shutil.copy(ROOT / "frontend" / "samples" / name, tmp_path)
    rows = "".join(f"{name},{index}\n" for name, index in labels.items())
    (tmp_path / "labels.csv").write_text(f"file,index\n{rows}", encoding="utf-8")
    monkeypatch.setenv("NINEFOLD_SAMPLES", str(tmp_path))
    monkeypatch.setenv("NINEFOLD_MODELS_DIR", str(models_dir))
    monkeypatch.setattr(sys, "argv", ["bench.gpu", "decode", "--device", "cpu"])
    gpu.main()
    said = capsys.readouterr().out
    assert "no figure here says anything about a GPU: 2 photographs" in said
    found = re.findall(r"^│ (b\S+-\d+) +│ ([\d.]+) +│ ([\d.]+) +│ (\d+) ", said, re.MULTILINE)
    assert [name for name, *_ in found] == ["bilinear-256-224", "bicubic-333-299", "bilinear-whole-640"]
    assert all(float(mean) <= float(worst) < 0.1 and int(largest) <= 2 for _, mean, worst, largest in found)
    assert re.search(r"efficientnet_lite0 fp32 +│ 2/2 .*│ 2 +│ 2 ", said)
