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

import httpx
import psutil
import pytest

from scripts.run import errands, read_places, the_parts

ROOT = Path(__file__).parents[2]
SETTINGS = {"NINEFOLD_PORT": "API", "NINEFOLD_PAGE_PORT": "page", "NINEFOLD_CLOUD_PORT": "cloud"}
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
def standins(api: str = "", page: str = "", cloud: str = "", finish: float = 10) -> Iterator[Started]:
    ports = [str(free_port()) for _ in range(3)]
    with started(DRIVER, ports[0], api, ports[1], page, ports[2], cloud, str(finish)) as program:
        yield program


def free_ports() -> dict[str, str]:
    return {setting: str(free_port()) for setting in SETTINGS}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_signal_stops_all_and_what_was_accepted_is_finished(number: signal.Signals) -> None:
    with standins(api="--finish 1", cloud="--finish 0.5") as program:
        program.wait_for("Ctrl-C")
        family = program.family()
        program.send(number)
        assert program.end() == 0
        assert program.said.count("finished what was accepted") == 3
        assert program.said.endswith("Stopped.\n")
        assert "Traceback" not in program.said
        assert len(family) == 3
        assert not any(process.is_running() for process in family)


def test_the_frame_tells_the_addresses_and_the_model() -> None:
    api, page, cloud = (free_port() for _ in range(3))
    with started(DRIVER, str(api), "", str(page), "", str(cloud), "", "5") as program:
        program.wait_for("Ctrl-C")
        for port in (api, page, cloud):
            assert f"http://localhost:{port}" in program.said
        assert "uploads and results live as long as this does" in program.said
        assert "stand_in: a test asked for it" in program.said
        assert "Starting the API, the page and the cloud" in program.said
        assert "stops all 3" in program.said


def test_the_frame_without_a_cloud_of_our_own_names_the_bucket() -> None:
    with started(DRIVER, str(free_port()), "", str(free_port()), "", "", "", "5") as program:
        program.wait_for("Ctrl-C")
        assert "bucket a-bucket, yours" in program.said
        assert "Starting the API and the page" in program.said
        assert "stops both" in program.said


def test_a_signal_while_the_parts_start_stops_them_too() -> None:
    with standins(api="--not-ready") as program:
        program.wait_for("API | up")
        program.send(signal.SIGINT)
        assert program.end() == 0
        assert "ready" not in program.said


@pytest.mark.parametrize(("broken", "name"), [("api", "API"), ("page", "page"), ("cloud", "cloud")])
def test_when_one_part_dies_the_others_are_stopped_and_the_dead_one_named(broken: str, name: str) -> None:
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


@pytest.mark.parametrize(("setting", "what"), SETTINGS.items())
def test_a_port_in_use_is_one_sentence_with_its_holder_and_the_way_out(setting: str, what: str) -> None:
    ports = free_ports()
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
        with started(DRIVER, str(port), "", str(free_port()), "", "", "", "5") as program:
            assert program.end() == 1
    assert f"port {port}, for the API, is in use by process {os.getpid()}" in program.said.splitlines()[-1]


@pytest.mark.parametrize("value", ["http", "0", "70000", "-1"])
def test_a_port_that_is_none_is_one_sentence(value: str) -> None:
    with started("-m", "scripts.run", NINEFOLD_PORT=value) as program:
        assert program.end() == 1
    assert program.said.strip() == f"ninefold: NINEFOLD_PORT={value} is no port: give it a number from 1 to 65535."


@pytest.mark.parametrize(
    ("bucket", "named"),
    [
        ("", " NINEFOLD_PORT, NINEFOLD_PAGE_PORT and NINEFOLD_CLOUD_PORT "),
        ("mine", " NINEFOLD_PORT and NINEFOLD_PAGE_PORT "),
    ],
)
def test_two_on_one_port_is_one_sentence(bucket: str, named: str) -> None:
    port = str(free_port())
    ports = {**free_ports(), "NINEFOLD_PORT": port, "NINEFOLD_PAGE_PORT": port}
    with started("-m", "scripts.run", NINEFOLD_BUCKET=bucket, **ports) as program:
        assert program.end() == 1
    assert program.said.strip() == f"ninefold: give{named}different values."


def test_a_model_that_cannot_be_had_ends_the_start() -> None:
    with started("-m", "scripts.run", NINEFOLD_MODEL="no-such-model", **free_ports()) as program:
        assert program.end() == 1
    assert "no-such-model" in program.said
    assert "there is no model to answer with" in program.said
    assert "Traceback" not in program.said


def test_the_real_parts_start_answer_and_stop(models_dir: Path) -> None:
    """Without Spark, too: its installation goes on for as long as it likes."""
    ports = free_ports()
    slow = {"NINEFOLD_GLUE_PYTHON_COMMAND": "sleep 1000", "NINEFOLD_BUCKET": ""}
    with started("-m", "scripts.run", NINEFOLD_MODELS_DIR=str(models_dir), **ports, **slow) as program:
        program.wait_for("Ctrl-C", seconds=40)
        assert "efficientnet_lite0" in program.said
        batches = httpx.get(f"http://127.0.0.1:{ports['NINEFOLD_PORT']}/v1/batches", trust_env=False).json()
        assert batches["notice"]["disposable"]
        assert "Spark is being installed" in batches["notice"]["message"]
        family = program.family()
        program.send(signal.SIGINT)
        assert program.end() == 0
        assert "Traceback" not in program.said
        assert not any(process.is_running() for process in family)


def test_who_names_a_bucket_keeps_it_and_gets_no_cloud() -> None:
    own = {"NINEFOLD_BUCKET": "mine", "AWS_PROFILE": "me", "NINEFOLD_S3_ENDPOINT": "http://minio:9000"}
    parts = the_parts(read_places(own), own)
    assert [part.name for part in parts] == ["API", "page"]
    for part in parts:
        assert own.items() <= part.env.items()
        assert part.env["NINEFOLD_PAGE_ORIGINS"] == "http://127.0.0.1:8501,http://localhost:8501"


def test_the_name_by_which_browsers_are_told_to_come_is_one_that_is_known() -> None:
    own = {
        "NINEFOLD_HOST": "192.168.1.5",
        "NINEFOLD_HOSTS": "other",
        "NINEFOLD_PUBLIC_API_URL": "http://box.local:8000",
        "NINEFOLD_S3_PUBLIC_ENDPOINT": "http://box.local:9000",
    }
    api, _, cloud = the_parts(read_places(own), own)
    assert (api.env["NINEFOLD_HOSTS"], cloud.env["NINEFOLD_CLOUD_NAMES"]) == ("other,box.local", "box.local")
    everywhere = own | {"NINEFOLD_HOST": "0.0.0.0", "NINEFOLD_HOSTS": ""}
    assert not the_parts(read_places(everywhere), everywhere)[0].env["NINEFOLD_HOSTS"], "all names are good there"


def test_the_server_is_told_of_the_cloud_and_of_nothing_else_that_is_aws() -> None:
    api, page, cloud = the_parts(
        read_places({}), {"AWS_PROFILE": "me", "AWS_ENDPOINT_URL": "http://else", "NO_PROXY": "b"}
    )
    assert api.env["NINEFOLD_S3_ENDPOINT"] == "http://127.0.0.1:9000"
    assert api.env["NINEFOLD_BUCKET"] == cloud.env["NINEFOLD_BUCKET"] == "ninefold"
    assert not {"AWS_PROFILE", "AWS_ENDPOINT_URL"} & {*api.env, *cloud.env}
    assert api.env["NO_PROXY"] == "b,127.0.0.1,localhost"
    assert page.env["NINEFOLD_API_URL"] == page.env["NINEFOLD_PUBLIC_API_URL"] == "http://127.0.0.1:8000"


def test_the_errand_is_called_by_what_it_makes() -> None:
    assert [errand.name for errand in errands({"NINEFOLD_DEVICE": "cuda:1"})] == ["fp16"]
    assert [errand.name for errand in errands({})] == ["int8"] and not errands({"NINEFOLD_PRECISION": "fp32"})
