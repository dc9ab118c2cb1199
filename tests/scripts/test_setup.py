"""Set-up: twice is free, and everything that can be missing on a bare machine is one sentence."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import browser, packages, setup, venv
from scripts.refusal import Refusal

ROOT = Path(__file__).parents[2]
NOWHERE = "http://127.0.0.1:9/simple"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what set-up consists of, in a folder whose name has a space."""
    copy = tmp_path / "a tree"
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, copy / name)
    shutil.copy(ROOT / "pyproject.toml", copy)
    return copy


def set_up(tree: Path, group: str = "run", **env: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))}
    return subprocess.run(
        [tree / "scripts" / "setup.sh", group],
        env={**kept, "PYTHON": sys.executable, "PIP_CONFIG_FILE": os.devnull, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def the_sentence(done: subprocess.CompletedProcess[str]) -> str:
    """What a person is told when set-up gives up: one line, no traceback, exit code 1."""
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("ninefold: ")
    return lines[0]


def in_a_few_words(refusal: pytest.ExceptionInfo[Refusal]) -> str:
    sentence = str(refusal.value)
    assert sentence.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", sentence), "one sentence"
    return sentence


def test_without_any_python_it_says_what_to_install(tree: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    sentence = the_sentence(set_up(tree, PATH=str(tools), PYTHON=""))
    assert "install Python 3.11" in sentence
    assert "no Python 3 runs here" in sentence


def test_a_named_python_that_does_not_run_is_named_back(tree: Path) -> None:
    assert "no /not/there/python runs here" in the_sentence(set_up(tree, PYTHON="/not/there/python"))


def test_an_unknown_group_is_refused(tree: Path) -> None:
    assert "run, test, check" in the_sentence(set_up(tree, "everything"))


def test_without_a_network_it_says_so_and_how_to_go_on(tree: Path) -> None:
    sentence = the_sentence(set_up(tree, PIP_INDEX_URL=NOWHERE))
    assert "connect to the network" in sentence
    assert "type the same command again" in sentence


def test_set_up_that_is_current_takes_no_time_and_no_network(tree: Path) -> None:
    (tree / ".venv" / "bin").mkdir(parents=True)
    (tree / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (tree / ".venv" / "pyvenv.cfg").write_text("version = 3.11.0\n")
    stamp = "from scripts import setup; setup._stamp('run').write_text(setup.fingerprint('run'))"
    subprocess.run([sys.executable, "-c", stamp], cwd=tree, check=True)
    begun = time.monotonic()
    done = set_up(tree, PIP_INDEX_URL=NOWHERE)
    assert time.monotonic() - begun < 2
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.fixture
def stamped(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A tree that is set up for tests, as seen by this process."""
    made = tree / ".venv"
    (made / "bin").mkdir(parents=True)
    (made / "bin" / "python").symlink_to(sys.executable)
    (made / "pyvenv.cfg").write_text("version = 3.11.0\n")
    monkeypatch.setattr(setup, "ROOT", tree)
    monkeypatch.setattr(setup, "VENV", made)
    monkeypatch.setattr(setup, "PYTHON", made / "bin" / "python")
    monkeypatch.setattr(setup, "REQUIREMENTS", tree / "requirements")
    monkeypatch.setattr(setup, "ensure_venv", lambda: None)
    monkeypatch.setattr(setup, "install", lambda _: None)
    setup.set_up("test")
    return tree


def test_setting_up_for_tests_sets_up_for_running_but_not_for_checking(stamped: Path) -> None:
    assert setup.is_current("test")
    assert setup.is_current("run")
    assert not setup.is_current("check")


@pytest.mark.parametrize(
    "changed", ["requirements/backend.txt", "requirements/constraints.txt", "pyproject.toml", ".venv/pyvenv.cfg"]
)
def test_another_pin_or_another_python_is_set_up_again(stamped: Path, changed: str) -> None:
    with (stamped / changed).open("a") as file:
        file.write("# changed\n")
    assert not setup.is_current("run")


def test_a_test_pin_does_not_concern_who_only_runs(stamped: Path) -> None:
    with (stamped / "requirements" / "test.txt").open("a") as file:
        file.write("# changed\n")
    assert setup.is_current("run")
    assert not setup.is_current("test")


def test_an_interrupted_install_is_not_taken_for_a_whole_one(stamped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(group: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(setup, "install", interrupted)
    with pytest.raises(KeyboardInterrupt):
        setup.set_up("check")
    assert not setup.is_current("check")


def test_a_python_that_went_away_is_set_up_again(stamped: Path) -> None:
    (stamped / ".venv" / "bin" / "python").unlink()
    assert not setup.is_current("run")


def test_a_disk_too_small_is_refused_before_anything_is_fetched() -> None:
    with pytest.raises(Refusal) as refusal:
        packages.require_space(1_000_000, ROOT)
    sentence = in_a_few_words(refusal)
    assert re.search(r"free \d+\.\d GB on the disk of .*need about 1e\+06 GB, and \d+\.\d GB are free", sentence)
    packages.require_space(0.001, ROOT)


def test_what_uv_says_without_a_network_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("UV_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("UV_DEFAULT_INDEX", NOWHERE)
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(Refusal) as refusal:
        packages._uv_install(["--dry-run", "--no-config", "ninefold-is-not-published"])
    assert "connect to the network" in in_a_few_words(refusal)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("error: failed to write to file `x`: No space left on device (os error 28)", "the disk is full"),
        ("error: Failed to fetch: `https://…`\n  cause: dns error", "connect to the network"),
        ("error: No solution found when resolving dependencies", "could not install the packages on this machine"),
    ],
)
def test_what_uv_says_becomes_one_sentence(said: str, words: str) -> None:
    assert words in packages.explain(said)


def test_a_python_without_venv_is_told_the_package_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(Refusal) as refusal:
        venv.make_venv(Path("unused"))
    assert f"apt install python3.{sys.version_info[1]}-venv" in in_a_few_words(refusal)


def test_where_no_accepted_python_is_and_none_can_be_brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def uv_that_fails(python: Path) -> None:
        python.parent.mkdir(parents=True)
        python.with_name("uv").write_text("#!/bin/sh\necho no network >&2\nexit 2\n")
        python.with_name("uv").chmod(0o755)

    monkeypatch.setattr(venv, "ACCEPTED", ())
    monkeypatch.setattr(venv, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(venv, "PYTHON", tmp_path / ".venv" / "bin" / "python")
    monkeypatch.setattr(venv, "make_venv", lambda _: None)
    monkeypatch.setattr(venv, "install_uv", uv_that_fails)
    with pytest.raises(Refusal) as refusal:
        venv.ensure_venv()
    assert "install Python 3.11" in in_a_few_words(refusal)


def test_the_cpu_build_is_asked_for_where_its_index_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(packages, "_torch_is_there", lambda: False)
    for answers, build in ((True, packages.CPU_BUILD), (False, packages.PLAIN_BUILD)):
        monkeypatch.setattr(packages, "_cpu_index_answers", lambda answers=answers: answers)
        assert packages._torch_build() == build


def test_a_torch_that_is_there_is_not_asked_for_again() -> None:
    assert packages._torch_build() == packages.TORCH_IS_THERE


def test_a_browser_that_does_not_start_is_not_a_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "chromium-browser"
    stub.write_text("#!/bin/sh\nexit 1\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PLAYWRIGHT_BROWSERS_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(browser, "_MAC", tmp_path / "none")
    assert browser.find_browser() is None
    stub.write_text("#!/bin/sh\nexit 0\n")
    assert browser.find_browser() == str(stub)


def test_no_browser_to_be_had_is_said_and_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(browser, "find_browser", lambda: None)
    monkeypatch.setattr(browser, "_installers", lambda: [["false"], [str(tmp_path / "not-there")]])
    browser.ensure_browser()
    assert "the tests of the page will be skipped" in capsys.readouterr().out


def test_no_requirement_names_an_address_and_each_is_an_exact_pin() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        lines = [line.split(";")[0].strip() for line in path.read_text().splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r"[A-Za-z0-9_.-]+(\[[a-z0-9,]+\])?==[A-Za-z0-9_.]+", line) for line in lines if line), (
            path.name
        )


def test_every_pin_is_among_the_constraints_with_the_same_version() -> None:
    def pins(path: Path) -> set[str]:
        lines = [line.split(";")[0].strip() for line in path.read_text().splitlines() if line[:1] not in ("#", "")]
        return {re.sub(r"\[.*\]", "", line).lower().replace("_", "-") for line in lines}

    constraints = pins(ROOT / "requirements" / "constraints.txt")
    for group in (*packages.GROUPS["check"], "glue"):
        assert pins(ROOT / "requirements" / f"{group}.txt") <= constraints, group
