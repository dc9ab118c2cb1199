"""REQUIRE_ALL=1: on a machine that promised everything, a skip is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIPS = {
    "mark": "@pytest.mark.skip(reason='mark is off')\ndef test_it() -> None: ...\n",
    "call": "def test_it() -> None:\n    pytest.skip('call is off')\n",
    "fixture": "@pytest.fixture\ndef gone():\n    pytest.skip('fixture is off')\n\ndef test_it(gone) -> None: ...\n",
    "module": "pytest.skip('module is off', allow_module_level=True)\n",
    "import": "pytest.importorskip('no_such_thing', reason='import is off')\n",
    "samples": "def test_it(samples) -> None: ...\n",
}
EXPECTED_FAILURE = "@pytest.mark.xfail\ndef test_it() -> None:\n    assert False\n"


def run_all(folder: Path, require_all: str) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text("from tests.conftest import *\n")
    for name, test in {**SKIPS, "expected": EXPECTED_FAILURE}.items():
        (folder / f"test_{name}.py").write_text(f"import pytest\n\n{test}")
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-rfEsx",
            "--continue-on-collection-errors",
            "-c",
            os.devnull,
            "--rootdir",
            ".",
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "REQUIRE_ALL": require_all, "NINEFOLD_SAMPLES": ""},
        capture_output=True,
        text=True,
        check=False,
    )


def test_skips_are_skips_where_not_everything_is_required(tmp_path: Path) -> None:
    done = run_all(tmp_path, require_all="0")
    assert done.returncode == 0, done.stdout
    assert f"{len(SKIPS)} skipped, 1 xfailed" in done.stdout


def test_every_kind_of_skip_fails_with_its_reason_where_everything_is_required(tmp_path: Path) -> None:
    done = run_all(tmp_path, require_all="1")
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout
    for name in SKIPS:
        reason = "NINEFOLD_SAMPLES does not name" if name == "samples" else f"{name} is off"
        assert f"skipped, and REQUIRE_ALL=1 allows no skips: {reason}" in done.stdout.replace("Skipped: ", "")
    assert "1 xfailed" in done.stdout
    assert " skipped," not in done.stdout.splitlines()[-1]
