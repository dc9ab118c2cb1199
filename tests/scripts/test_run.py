"""`make run`: parts that start together, stop together, and say why when they cannot."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
DRIVER = str(Path(__file__).with_name("run_standins.py"))


class Started:
    """A program under test: what it said so far, and the processes it has."""

    def __init__(self, command: list[str], env: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.pid = self._process.pid
        self._lines: list[str] = []
        self._reader = threading.Thread(target=lambda: self._lines.extend(self._process.stdout or ()))
        self._reader.start()

    @property
    def said(self) -> str:
        return "".join(self._lines)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.pid).children(recursive=True)

    def wait_for(self, words: str, seconds: float = 30) -> None:
        wait_until(lambda: words in self.said or not self._reader.is_alive(), seconds)
        assert words in self.said, self.said

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self, seconds: float = 30) -> int:
        code = self._process.wait(timeout=seconds)
        self._reader.join(timeout=5)
        return code

    def clean_up(self) -> None:
        if self._process.poll() is None:
            for process in self.family():
                process.kill()
            self._process.kill()
        self.end()


def wait_until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)


@contextmanager
def started(*command: str, **env: str) -> Iterator[Started]:
    program = Started([sys.executable, *command], {**os.environ, "PYTHONPATH": str(ROOT), **env})
    try:
        yield program
    finally:
        program.clean_up()


@contextmanager
def standins(api: str = "", page: str = "", finish: float = 10) -> Iterator[Started]:
    with started(DRIVER, str(free_port()), api, str(free_port()), page, str(finish)) as program:
        yield program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_both_and_what_was_accepted_is_finished(number: signal.Signals) -> None:
    with standins(api="--finish 1") as program:
        program.wait_for("Ctrl-C")
        family = program.family()
        program.send(number)
        assert program.end() == 0
        assert program.said.count("finished what was accepted") == 2
        assert program.said.endswith("Stopped.\n")
        assert "Traceback" not in program.said
        assert len(family) == 2
        assert not any(process.is_running() for process in family)


def test_the_frame_tells_the_addresses_and_the_model() -> None:
    with started(DRIVER, str(api := free_port()), "", str(page := free_port()), "", "5") as program:
        program.wait_for("Ctrl-C")
        assert f"http://localhost:{api}" in program.said
        assert f"http://localhost:{page}" in program.said
        assert "stand_in: a test asked for it" in program.said


def test_a_signal_while_the_parts_start_stops_them_too() -> None:
    with standins(api="--not-ready") as program:
        program.wait_for("API | up")
        program.send(signal.SIGINT)
        assert program.end() == 0
        assert "ready" not in program.said


@pytest.mark.parametrize(("broken", "name"), [("api", "API"), ("page", "page")])
def test_when_one_part_dies_the_other_is_stopped_and_the_dead_one_named(broken: str, name: str) -> None:
    with standins(**{broken: "--die-after 1 --code 3"}) as program:
        program.wait_for("API | up")
        family = program.family()
        assert program.end() == 1
        assert f"the {name} stopped by itself (exit code 3)" in program.said
        assert "Traceback" not in program.said
        assert not any(process.is_running() for process in family)


def test_a_part_that_will_not_end_is_killed_when_its_time_is_over() -> None:
    with standins(page="--deaf", finish=1) as program:
        program.wait_for("Ctrl-C")
        program.send(signal.SIGINT)
        assert program.end(seconds=10) == 0
        assert "The page did not end in time" in program.said


def test_a_second_ctrl_c_kills_at_once() -> None:
    with standins(page="--deaf", finish=60) as program:
        program.wait_for("Ctrl-C")
        program.send(signal.SIGINT)
        program.wait_for("Stopping")
        program.send(signal.SIGINT)
        assert program.end(seconds=10) == 0


def test_what_a_part_started_itself_is_not_left_behind(tmp_path: Path) -> None:
    with standins(api=f"--child {tmp_path / 'pid'}") as program:
        program.wait_for("Ctrl-C")
        child = psutil.Process(int((tmp_path / "pid").read_text()))
        program.send(signal.SIGINT)
        assert program.end() == 0
        wait_until(lambda: gone(child))
        assert gone(child)


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(("setting", "what"), [("NINEFOLD_PORT", "API"), ("NINEFOLD_PAGE_PORT", "page")])
def test_a_port_in_use_is_one_sentence_with_its_holder_and_the_way_out(setting: str, what: str) -> None:
    ports = {"NINEFOLD_PORT": str(free_port()), "NINEFOLD_PAGE_PORT": str(free_port())}
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with started("-m", "scripts.run", **{**ports, setting: str(port)}) as program:
            assert program.end() == 1
    assert program.said.strip() == (
        f"ninefold: port {port}, for the {what}, is in use by process {os.getpid()} ({psutil.Process().name()}): "
        f"stop that, or choose another one, {setting}={port + 1} make run."
    )


def test_a_port_that_was_taken_after_the_check_is_the_same_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with started(DRIVER, str(port), "", str(free_port()), "", "5") as program:
            assert program.end() == 1
    assert f"port {port}, for the API, is in use by process {os.getpid()}" in program.said.splitlines()[-1]


@pytest.mark.parametrize("value", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_one_sentence(value: str) -> None:
    with started("-m", "scripts.run", NINEFOLD_PORT=value) as program:
        assert program.end() == 1
    assert program.said.strip() == f"ninefold: NINEFOLD_PORT={value} is no port: give it a number from 1 to 65535."


def test_both_on_one_port_is_one_sentence() -> None:
    port = str(free_port())
    with started("-m", "scripts.run", NINEFOLD_PORT=port, NINEFOLD_PAGE_PORT=port) as program:
        assert program.end() == 1
    assert program.said.strip() == "ninefold: give NINEFOLD_PORT and NINEFOLD_PAGE_PORT different values."


def test_a_model_that_cannot_be_had_ends_the_start() -> None:
    ports = {"NINEFOLD_PORT": str(free_port()), "NINEFOLD_PAGE_PORT": str(free_port())}
    with started("-m", "scripts.run", NINEFOLD_MODEL="no-such-model", **ports) as program:
        assert program.end() == 1
    assert "no-such-model" in program.said
    assert "there is no model to answer with" in program.said
    assert "Traceback" not in program.said


def test_the_real_parts_start_answer_and_stop(models_dir: Path) -> None:
    ports = {"NINEFOLD_PORT": str(free_port()), "NINEFOLD_PAGE_PORT": str(free_port())}
    with started("-m", "scripts.run", NINEFOLD_MODELS_DIR=str(models_dir), **ports) as program:
        program.wait_for("Ctrl-C", seconds=20)
        assert "efficientnet_lite0" in program.said
        family = program.family()
        program.send(signal.SIGINT)
        assert program.end() == 0
        assert "Traceback" not in program.said
        assert not any(process.is_running() for process in family)
