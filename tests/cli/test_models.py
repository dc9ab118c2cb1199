"""`ninefold models`: what is there, what is missing and why, and builds that say what went wrong."""

import subprocess
import sys
import time
from pathlib import Path

from typer.testing import CliRunner, Result

from cli.main import app
from inference.artefacts import ArtefactStore
from tests.servers import ROOT, free_port


def models(*arguments: str, **environment: str) -> Result:
    return CliRunner(env=environment).invoke(app, ["models", *arguments])


def test_list_shows_what_is_there_and_what_is_missing(models_dir: Path) -> None:
    listed = models("list", "--models-dir", str(models_dir)).stdout
    assert "efficientnet_lite0" in listed and "fp32" in listed and "19 MB" in listed
    assert "ninefold models" in listed.replace("\n", " ")


def test_seeded_models_are_listed_only_when_they_were_built(tmp_path: Path) -> None:
    assert "seeded" not in models("list", "--models-dir", str(tmp_path)).stdout


def test_building_what_is_there_is_done_at_once_and_without_torch(models_dir: Path) -> None:
    code = "import sys; from cli.main import app\ntry: app()\nfinally: print('torch' in sys.modules)"
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, "models", "build", "--models-dir", str(models_dir)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stdout.strip() == "False" and "is there" in done.stderr
    assert time.monotonic() - started < 30


def test_an_unknown_model_and_a_wrong_file_are_one_sentence(tmp_path: Path) -> None:
    unknown = models("build", "alexnet", "--models-dir", str(tmp_path))
    assert unknown.exit_code == 2 and "Known: resnet18" in unknown.stderr
    (tmp_path / "w.pth").write_bytes(b"wrong")
    wrong = models("build", "resnet18", "--weights", str(tmp_path / "w.pth"), "--models-dir", str(tmp_path / "m"))
    assert wrong.exit_code == 1 and "the right file's begins with" in wrong.stderr
    assert not list((tmp_path / "m").glob("resnet18/fp32"))


def test_a_model_that_was_asked_for_is_never_replaced(tmp_path: Path) -> None:
    """NINEFOLD_MODEL names the default's weights and no network has them: exit code 1, and nothing else is built."""
    mirror = f"http://127.0.0.1:{free_port()}"
    result = models("build", "--models-dir", str(tmp_path), NINEFOLD_MODEL="resnet18", NINEFOLD_WEIGHTS_MIRROR=mirror)
    assert result.exit_code == 1 and "cannot be reached" in result.stderr and "--weights FILE" in result.stderr
    assert "cannot be reached" in (ArtefactStore(tmp_path).why_missing("resnet18") or "")
    assert [path.name for path in tmp_path.iterdir()] == ["resnet18"]


def test_a_full_disk_is_one_sentence(full_disk: Path) -> None:
    result = models("build", "efficientnet_lite0", "--models-dir", str(full_disk))
    assert result.exit_code == 1 and "No space left" in result.stderr and "--models-dir" in result.stderr
    assert not list(full_disk.glob("*/fp32"))


def test_what_is_built_for_cuda_is_there_for_cuda(cuda_dir: Path) -> None:
    where = ["--models-dir", str(cuda_dir)]
    assert "is there" in models("build", "efficientnet_lite0", *where, NINEFOLD_DEVICE="CUDA").stderr
    assert "seeded fp16 is there" in models("quantize", "resnet18-seeded", "--device", "cuda", *where).stderr


def test_for_cuda_fp16_is_made_of_what_was_built_for_cuda(models_dir: Path) -> None:
    where = ["--models-dir", str(models_dir), "--device", "CUDA:1"]
    for words in (["quantize", "efficientnet_lite0", *where], ["quantize", *where]):
        refused = models(*words)
        assert refused.exit_code == 1 and "`ninefold models build efficientnet_lite0 --device CUDA`" in refused.stderr
