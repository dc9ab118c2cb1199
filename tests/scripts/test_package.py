"""What AWS is given: the same bytes from the same sources, and everything in it that it imports."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import boto3
import pytest

from scripts.package import package

ROOT = Path(__file__).parents[2]
NAMES = ["lambda.zip", "modules.zip", "predict.py", "preprocess.py"]
IMPORT_ALONE = """
import importlib, sys, types
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "numpy", "PIL", "pyspark", "pydantic", "inference", "backend"):
            raise ModuleNotFoundError(f"{name} is not to be had here")
sys.meta_path.insert(0, Blocked())
sys.path[:0] = sys.argv[1:]
import start_preprocessing
assert start_preprocessing.handler({"Service": "Amazon S3", "Event": "s3:TestEvent"}, None) == {"outcomes": []}
found = sorted(name for name in sys.modules if name.partition(".")[0] in ("contract", "start_preprocessing"))
print(*found)
"""


def copy_of_the_sources(folder: Path, mtime: int, mask: int) -> Path:
    """A tree with other times and modes, and with what is left behind by running it."""
    for part in ("contract", "lambda", "glue_jobs", "inference", "scripts"):
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    for path in sorted(folder.rglob("*.py"), reverse=bool(mtime % 2)):
        os.utime(path, (mtime, mtime))
        path.chmod(mask)
    for part in ("contract", "glue_jobs", "inference"):
        cache = folder / part / "__pycache__"
        cache.mkdir()
        (cache / f"left.{mtime}.pyc").write_bytes(b"x")
    return folder


def test_two_copies_of_the_sources_make_the_same_bytes(tmp_path: Path) -> None:
    for name, mtime, mask in (("one", 1_000_000_000, 0o644), ("two", 1_700_000_001, 0o755)):
        tree = copy_of_the_sources(tmp_path / name, mtime, mask)
        subprocess.run([sys.executable, "-m", "scripts.package"], cwd=tree, check=True, capture_output=True, timeout=60)
    one, two = (tmp_path / name / "build" for name in ("one", "two"))
    assert sorted(path.name for path in one.iterdir()) == NAMES
    for name in NAMES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_another_source_makes_other_bytes(tmp_path: Path) -> None:
    tree = copy_of_the_sources(tmp_path / "tree", 1_000_000_000, 0o644)
    made = []
    for number in range(2):
        (tree / "contract" / "batches.py").write_text(f"number = {number}\n")
        command = [sys.executable, "-m", "scripts.package", str(tmp_path / str(number))]
        subprocess.run(command, cwd=tree, check=True, capture_output=True, timeout=60)
        made.append([(tmp_path / str(number) / name).read_bytes() for name in NAMES])
    assert [a == b for a, b in zip(*made, strict=True)] == [False, False, True, True]


def test_names_and_modes_within(tmp_path: Path) -> None:
    package(tmp_path / "deep" / "build")
    with zipfile.ZipFile(tmp_path / "deep" / "build" / "lambda.zip") as archive:
        assert archive.namelist() == [
            "contract/__init__.py", "contract/batches.py", "contract/ziplist.py", "start_preprocessing.py",
        ]  # fmt: skip
        # Lambda reads its files as another user than the one who packed them.
        assert {about.external_attr >> 16 for about in archive.infolist()} == {0o100644}
    with zipfile.ZipFile(tmp_path / "deep" / "build" / "modules.zip") as archive:
        names = archive.namelist()
    assert names == sorted(names) and {"contract/transform.py", "contract/shards.py", "glue_jobs/tasks.py"} <= set(
        names
    )
    assert not [name for name in names if not name.endswith(".py") or name.count("/") != 1]


def test_the_lambda_imports_alone_with_nothing_but_the_runtimes_packages(tmp_path: Path) -> None:
    package(tmp_path / "build")
    function, runtime = tmp_path / "function", tmp_path / "runtime"
    zipfile.ZipFile(tmp_path / "build" / "lambda.zip").extractall(function)
    runtime.mkdir()
    installed = Path(boto3.__file__).parents[1]
    for name in ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six.py"):
        (runtime / name).symlink_to(installed / name)
    environment = {"GLUE_JOB": "job", "AWS_DEFAULT_REGION": "eu-central-1", "PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", IMPORT_ALONE, str(function), str(runtime)],
        cwd=function,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["contract", "contract.batches", "contract.ziplist", "start_preprocessing"]


@pytest.mark.parametrize(
    "module",
    ["glue_jobs.tasks", "glue_jobs.preprocess", "contract.shards", "glue_jobs.predictions", "glue_jobs.predict"],
)
def test_the_jobs_modules_are_whole(tmp_path: Path, module: str) -> None:
    """Isolated, the repository is out of reach; what Glue has is not."""
    package(tmp_path)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'modules.zip')!r}); import {module} as m; print(m.__file__)"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "modules.zip"))
