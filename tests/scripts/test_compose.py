"""`make up` and `make down` where there is no Docker, and what they ask of one that is played."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def compose(folder: Path, docker: str | None, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """With this shell script as the only Docker."""
    if docker is not None:
        (folder / "docker").write_text(f'#!/bin/sh\necho "$*" >> {folder}/calls\n{docker}\n')
        (folder / "docker").chmod(0o755)
    return subprocess.run(
        [sys.executable, "-m", "scripts.compose", *words],
        cwd=ROOT,
        env={"PATH": str(folder), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("docker", "why"),
    [
        (None, "install Docker with Compose"),
        ("exit 1", "no Docker answers here: start it"),
        ('test "$1" = version', "install Docker's Compose plugin"),
    ],
)
def test_without_docker_it_is_one_sentence_that_says_what_to_do(tmp_path: Path, docker: str | None, why: str) -> None:
    done = compose(tmp_path, docker, "up")
    assert (done.returncode, done.stdout, done.stderr.strip().count("\n")) == (1, "", 0)
    assert why in done.stderr and "`make run`, which needs no Docker" in done.stderr


def test_a_compose_that_cannot_read_the_files_is_refused_in_words(tmp_path: Path) -> None:
    done = compose(tmp_path, 'test "$3" != --short || echo 2.21.3', "up")
    assert (done.returncode, done.stdout) == (1, "") and "Compose plugin is 2.21, and 2.24 or newer" in done.stderr
    assert compose(tmp_path, 'test "$3" != --short || echo v2.24.0-desktop.1', "up").returncode == 0


def test_up_names_the_page_and_down_takes_the_data_along(tmp_path: Path) -> None:
    environment = {"NINEFOLD_PAGE_PORT": "8600", "NINEFOLD_REVISION": "abc", "COMPOSE_FILE": "/of/another/place.yml"}
    up = compose(tmp_path, "exit 0", "up", **environment)
    assert up.returncode == 0 and "Ninefold is ready: http://127.0.0.1:8600" in up.stdout
    assert compose(tmp_path, "exit 0", "down", **environment).returncode == 0
    calls = [call for call in (tmp_path / "calls").read_text().splitlines() if "--file" in call]
    own = f"compose --env-file {os.devnull} --file {ROOT / 'docker-compose.yml'}"
    assert [call.removeprefix(f"{own} ").split()[0] for call in calls] == ["build", "up", "down"]
    assert "--volumes" in calls[-1]


def test_an_overlay_is_one_more_file(tmp_path: Path) -> None:
    assert compose(tmp_path, "exit 0", "up", "gpu", NINEFOLD_REVISION="abc").returncode == 0
    files = f"--file {ROOT / 'docker-compose.yml'} --file {ROOT / 'docker-compose.gpu.yml'}"
    calls = [call for call in (tmp_path / "calls").read_text().splitlines() if "--file" in call]
    assert [files in call for call in calls] == [True, True]


def test_containers_that_do_not_come_up_are_one_sentence(tmp_path: Path) -> None:
    done = compose(tmp_path, 'case "$*" in *" up "*) exit 1;; esac', "up", NINEFOLD_REVISION="abc")
    assert done.returncode == 1 and "the containers are not up" in done.stderr
