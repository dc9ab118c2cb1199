"""`ninefold loadtest`: every request counted, no latency forgotten, every failure named, nothing left running."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from email import message_from_bytes
from itertools import pairwise
from multiprocessing import Pipe
from pathlib import Path
from threading import Lock
from typing import Any

import psutil
import pytest
from typer.testing import CliRunner, Result

from cli.loadtest import plot, worker
from cli.loadtest.asking import Answer
from cli.loadtest.bodies import Picture, Tensor, bodies, inference
from cli.loadtest.plan import Arrivals, Body, Plan, dues
from cli.loadtest.tally import Tally
from cli.main import app
from tests import pictures
from tests.cli.loadtest_server import Asked, fine, known, predicted, row_bad, row_ok, send, wait_for
from tests.servers import ROOT, free_port, serve

KOALA = str(pictures.SAMPLES / "koala.jpg")
MACAW = str(pictures.SAMPLES / "macaw.jpg")


def loadtest(*arguments: object, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(app, ["loadtest", *map(str, arguments)], env={"COLUMNS": "160"} | (env or {}))


@pytest.fixture
def figures(tmp_path: Path) -> Iterator[Any]:
    """Runs the command and returns its exit code and its JSON."""

    def run(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, dict[str, Any]]:
        result = loadtest(*arguments, "-o", tmp_path / "figures.json", env=env)
        assert result.exit_code in (0, 1), result.output
        return result.exit_code, json.loads((tmp_path / "figures.json").read_text())

    return run


# -- how many ------------------------------------------------------------------------------------------------------


def test_samples_times_threads_times_workers_and_the_one_before_them(figures: Any) -> None:
    with known() as server:
        code, found = figures(KOALA, server.url, "-w", 2, "-t", 3, "-s", 7)
        assert code == 0 and len(server.posts) == 2 * 3 * 7 + 1
    assert (found["requests"], found["answered"], found["failed"], found["inferences"]) == (42, 42, 0, 42)
    assert found["errors"] == {} == found["row_errors"] and sum(row["answered"] for row in found["timeline"]) == 42
    size = len(server.posts[0].body)
    assert found["bytes_sent"] == 42 * size and found["bytes_received"] == 42 * len(json.dumps(predicted(row_ok())))
    assert {asked.path for asked in server.posts} == {"/v1/predict"}


def test_with_seconds_the_samples_do_not_count(figures: Any) -> None:
    with known() as server:
        _, found = figures(KOALA, server.url, "-s", 1, "-i", 0.5)
        assert found["requests"] == len(server.posts) - 1 > 1
    assert found["samples"] is None and found["elapsed_seconds"] >= 0.5


def test_the_warm_up_asks_and_does_not_count(figures: Any) -> None:
    with known() as server:
        _, found = figures(KOALA, server.url, "-s", 5, "--warmup", 0.3)
        assert found["requests"] == 5 and len(server.posts) > 1 + 5
        _, found = figures(KOALA, server.url, "-i", 0.4, "--warmup", 0.3, "--rate", 50, "--arrivals", "steady")
        assert found["requests"] == 20


def test_the_open_loop_asks_as_often_as_it_says_by_however_many_workers(figures: Any) -> None:
    with known() as server:
        _, found = figures(KOALA, server.url, "-w", 2, "--rate", 60, "-i", 1, "--arrivals", "steady")
        assert found["requests"] == len(server.posts) - 1 == 60
        _, found = figures(KOALA, server.url, "-w", 2, "-t", 2, "-s", 5, "--rate", 200)
        assert found["requests"] == len(server.posts) - 62 == 20
        _, found = figures(KOALA, server.url, "-w", 2, "--rate", 200)
        assert found["requests"] == 20 and found["connections"] == 128, "samples of connections that are spare are none"


# -- how long ------------------------------------------------------------------------------------------------------


def _stalls_once() -> Any:
    one_at_a_time = Lock()

    def script(number: int, asked: Asked, handler: object) -> object:
        with one_at_a_time:
            if number == 20:
                time.sleep(0.3)
        return fine(number, asked, handler)

    return script


def test_a_stall_shows_in_the_open_loop_and_hides_in_the_closed(figures: Any) -> None:
    with known(_stalls_once()) as server:
        _, closed = figures(KOALA, server.url, "-s", 150)
    with known(_stalls_once()) as server:
        _, opened = figures(KOALA, server.url, "--rate", 100, "-i", 1.5, "--arrivals", "steady")
    assert closed["latency_ms"]["max"] >= 300 and closed["latency_ms"]["p50"] < 150
    assert opened["requests"] == 150 and opened["latency_ms"]["p99"] > 150


def test_a_request_that_had_to_wait_for_a_connection_counts_from_when_it_was_due(figures: Any) -> None:
    with known(_stalls_once()) as server:
        _, found = figures(KOALA, server.url, "-t", 1, "--rate", 100, "-i", 0.6, "--arrivals", "steady")
    assert found["requests"] == 60 and found["late"] > 10 and found["latency_ms"]["p90"] > 150


def test_steady_workers_take_turns() -> None:
    plan = Plan("", workers=3, seconds=2, rate=30, arrivals=Arrivals.STEADY, warmup=1)
    all_dues = sorted(due for worker in range(3) for due in dues(plan, worker, 100.0))
    assert len(all_dues) == 90 and all_dues[0] == 99.0
    assert {round(after - before, 6) for before, after in pairwise(all_dues)} == {round(1 / 30, 6)}


def test_no_request_is_lost_or_won_by_rounding() -> None:
    for begin in (100.0, 33123.456789, 1e6 / 7):
        plan = Plan("", seconds=0.4, rate=50, arrivals=Arrivals.STEADY, warmup=0.3)
        every = list(dues(plan, 0, begin))
        assert (len(every), len([due for due in every if due >= begin])) == (35, 20)


def test_random_workers_add_up_to_one_poisson_stream() -> None:
    plan = Plan("", workers=4, seconds=200, rate=50)
    streams = [list(dues(plan, worker, 0.0)) for worker in range(4)]
    together = sorted(due for stream in streams for due in stream)
    gaps = [after - before for before, after in pairwise(together)]
    mean = sum(gaps) / len(gaps)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert abs(mean * 50 - 1) < 0.05 and abs(deviation / mean - 1) < 0.05, "exponential gaps deviate by their mean"
    assert streams[0] != streams[1] and streams[0] == list(dues(plan, 0, 0.0))


def test_quantiles_of_merged_tallies_are_those_of_all_values() -> None:
    parts, values = [Tally() for _ in range(5)], [1.013**n / 1000 for n in range(700)]
    for number, value in enumerate(values):
        parts[number % 4].answer("m p", value, number // 100)
    whole = Tally()
    for part in parts:
        whole.add(part)
    for share, rank in ((0, 1), (0.5, 350), (0.95, 665), (0.99, 693), (0.999, 700), (1, 700)):
        assert whole.quantile_ms(share) == pytest.approx(1000 * values[rank - 1], rel=0.0011)
    assert whole.quantile_ms(1) <= 1000 * whole.slowest == 1000 * values[-1]
    assert whole.peaks == {second: values[100 * second + 99] for second in range(7)}


def test_a_quantile_is_a_latency_that_was_seen() -> None:
    tally = Tally()
    assert tally.quantile_ms(0.5) is None
    for number in range(1, 11):
        tally.answer("m p", number / 10, 0)
        assert tally.quantile_ms(0.99) == pytest.approx(100 * number, rel=0.0011), "of ten requests the slowest"
        assert tally.quantile_ms(0.5) == pytest.approx(100 * ((number + 1) // 2), rel=0.0011)


# -- what failed ---------------------------------------------------------------------------------------------------


def _misbehaves(number: int, _: Asked, handler: Any) -> object:
    match number:
        case 1:
            send(handler, {"error": {"code": "not_ready", "message": "Later."}}, 503)
        case 2:
            handler.connection.close()
            handler.close_connection = True
        case 3:
            return {"something": "else"}
        case 4:
            handler.wfile.write(b"SSH-2.0-none\r\n\r\n")
            handler.close_connection = True
        case 5:
            return predicted(row_bad("unsupported_format"))
        case 6:
            time.sleep(1)
        case 7:
            return predicted(row_ok(), row_ok())
        case _:
            return predicted(row_ok())
    return None


def test_errors_by_kind_each_counted_once_and_none_sent_again(figures: Any) -> None:
    with known(_misbehaves) as server:
        code, found = figures(KOALA, server.url, "-s", 10, "--timeout", 0.5)
        assert code == 1 and len(server.posts) == 11
    assert found["errors"] == {
        "status 503": 1,
        "connection broken": 1,
        "broken answer": 3,
        "row errors": 1,
        "timeout": 1,
    }
    assert found["row_errors"] == {"unsupported_format": 1}
    assert (found["requests"], found["answered"], found["failed"], found["inferences"]) == (10, 3, 7, 3)


def test_a_bad_row_fails_its_request_and_its_neighbours_are_inferences(figures: Any) -> None:
    def script(number: int, asked: Asked, handler: object) -> object:
        return predicted(row_ok(), row_bad("too_many_pixels"), row_ok()) if number else fine(number, asked, handler)

    with known(script) as server:
        code, found = figures(KOALA, server.url, "-b", 3, "-s", 4)
    assert code == 1 and found["answered"] == 0 and found["inferences"] == 8
    assert found["row_errors"] == {"too_many_pixels": 4} and found["latency_ms"]["p50"] is None


def test_a_server_that_goes_away_refuses_connections(figures: Any) -> None:
    def script(_: int, __: Asked, handler: Any) -> None:
        server.server.socket.close()
        send(handler, predicted(row_ok()), Connection="close")
        handler.close_connection = True

    with known(script) as server:
        code, found = figures(KOALA, server.url, "-t", 2, "-s", 3)
    assert code == 1 and found["errors"] == {"connection refused": 6} and found["bytes_sent"] == 0


def test_what_could_not_be_sent_in_time_is_said_and_ends_the_run(figures: Any) -> None:
    def script(number: int, *_: object) -> object:
        time.sleep(0.25 if number else 0)
        return predicted(row_ok())

    with known(script) as server:
        code, found = figures(
            KOALA, server.url, "-t", 1, "--rate", 40, "-i", 1, "--arrivals", "steady", "--timeout", 0.6
        )
    assert code == 1 and found["requests"] == 40
    assert found["errors"]["not sent in time"] > 20 and found["answered"] > 0
    assert found["bytes_sent"] == (len(server.posts) - 1) * len(server.posts[0].body)
    assert 0 < found["late"] <= 40 - found["errors"]["not sent in time"], "what was not sent was not sent late"


def test_what_is_given_up_long_after_the_time_does_not_stretch_it(figures: Any) -> None:
    def script(number: int, asked: Asked, handler: object) -> object:
        if number == 5:
            time.sleep(5)
        return fine(number, asked, handler)

    with known(script) as server:
        code, found = figures(KOALA, server.url, "-t", 2, "-i", 0.5, "--timeout", 3)
    assert code == 1 and found["errors"] == {"timeout": 1}
    assert found["timeline"][3]["failed"] == 1 and found["elapsed_seconds"] < 3
    assert found["requests_per_second"] == found["answered"] / found["elapsed_seconds"]


def test_an_answer_of_brackets_without_end_is_a_broken_one(figures: Any) -> None:
    def script(number: int, asked: Asked, handler: Any) -> object:
        deep = b'{"results":' + b"[" * 100_000
        return send(handler, deep) if number == 2 else fine(number, asked, handler)

    with known(script) as server:
        code, found = figures(KOALA, server.url, "-s", 5)
    assert code == 1 and found["errors"] == {"broken answer": 1} and found["answered"] == 4


class _Gone:
    """Instead of a connection: one that is not to be had."""

    asked = 0
    sent = 0

    def __init__(self, plan: Plan) -> None: ...

    def ask(self, body: Body) -> Answer:
        type(self).asked += 1
        return Answer("connection refused")


def test_a_server_that_is_gone_is_not_asked_a_million_times_not_even_to_warm_up(monkeypatch: Any) -> None:
    monkeypatch.setattr(worker, "Connection", _Gone)
    ours, theirs = Pipe()
    with ours, theirs:
        plan = Plan("", warmup=0.4, samples=3)
        worker._Worker(plan, [Body((), b"x")], 0, time.monotonic() + 0.4).run(theirs)
        assert ours.recv().errors == {"connection refused": 3}
    assert _Gone.asked <= 3 + 0.4 / worker._PAUSE_SECONDS + 1


# -- what is sent --------------------------------------------------------------------------------------------------


def test_the_key_goes_with_every_request() -> None:
    with known() as server:
        loadtest(KOALA, server.url, "-s", 2, env={"NINEFOLD_API_KEY": "nf_1_secret"})
        loadtest(KOALA, server.url, "-s", 2, "--key", "nf_2_secret")
        said = [asked.headers["authorization"] for asked in server.posts]
    assert said == ["Bearer nf_1_secret"] * 3 + ["Bearer nf_2_secret"] * 3


def _parts(asked: Asked) -> list[tuple[str, bytes]]:
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    message = message_from_bytes(head + asked.body)
    return [
        (str(part.get_param("name", header="content-disposition")), part.get_payload(decode=True))
        for part in message.get_payload()
    ]


def test_four_images_are_four_parts_and_the_pictures_take_turns() -> None:
    with known() as server:
        loadtest(
            KOALA, MACAW, KOALA, f"{server.url}/v1/predict", "-b", 4, "-s", 3, "--model", "a b", "--precision", "int8"
        )
    koala, macaw = Path(KOALA).read_bytes(), Path(MACAW).read_bytes()
    assert {asked.path for asked in server.posts} == {"/v1/predict?model=a+b&precision=int8"}
    first, *asked = [_parts(asked) for asked in server.posts]
    assert [name for name, _ in first] == ["images"] * 4
    assert [data for parts in asked for _, data in parts] == ([koala, macaw, koala] * 4)


def test_twelve_images_go_by_the_open_inference_protocol(figures: Any) -> None:
    models = {"models": [{"name": "other", "default": False}, {"name": "lite", "default": True}]}
    stated = {"name": "lite", "inputs": [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 224, 224, 3]},
                                         {"name": "encoded", "datatype": "BYTES", "shape": [-1, 1]}],
              "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 1000]}]}  # fmt: skip
    server_says = {"name": "x", "extensions": ["binary_tensor_data", "classification"]}
    with known(**{"/v1/models": models, "/v2": server_says, "/v2/models/lite": stated}) as server:
        code, found = figures(KOALA, MACAW, server.url, "-b", 12, "-s", 3)
    assert code == 0 and found["inferences"] == 36
    assert {asked.path for asked in server.posts} == {"/v2/models/lite/infer"}
    asked = server.posts[0]
    length = int(asked.headers["inference-header-content-length"])
    header, binary, elements = json.loads(asked.body[:length]), asked.body[length:], []
    assert header == {
        "inputs": [
            {"name": "encoded", "shape": [12, 1], "datatype": "BYTES", "parameters": {"binary_data_size": len(binary)}}
        ],
        "outputs": [{"name": "logits", "parameters": {"classification": 5}}],
    }
    while binary:
        (size,) = struct.unpack_from("<I", binary)
        elements.append(binary[4 : 4 + size])
        binary = binary[4 + size :]
    assert elements == [Path(KOALA).read_bytes(), Path(MACAW).read_bytes()] * 6


def test_a_batch_of_another_size_is_a_broken_answer(figures: Any) -> None:
    def script(number: int, asked: Asked, handler: object) -> object:
        return {"outputs": [{"name": "label", "shape": [3, 5], "data": []}]} if number else fine(number, asked, handler)

    stated = {"inputs": [{"name": "encoded", "datatype": "BYTES", "shape": [-1]}], "outputs": [{"name": "logits"}]}
    with known(script, **{"/v2": {}, "/v2/models/m/versions/int8": stated}) as server:
        code, found = figures(KOALA, server.url, "-b", 10, "-s", 2, "--model", "m", "--precision", "int8")
    assert code == 1 and found["errors"] == {"broken answer": 2}


def test_every_different_request_is_made_once() -> None:
    given = [Picture(f"{n}.jpg", bytes([n])) for n in range(6)]
    for images, different in ((1, 6), (2, 3), (4, 3), (5, 6), (6, 1), (9, 2)):
        assert len(bodies(given, images)) == different
    assert bodies(given, 4, Tensor("i"))[1] == inference([*given[4:], *given[:2]], Tensor("i"))


# -- what is said before anything is measured ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "name one picture or more"),
        (["http://127.0.0.1:8000"], "name one picture or more"),
        ([KOALA, MACAW], "is no server's address"),
        ([KOALA, "ftp://127.0.0.1"], "is no server's address"),
        ([KOALA, "http://[::"], "is no server's address"),
        (["absent.jpg", "http://127.0.0.1:1"], "absent.jpg cannot be read"),
        ([str(ROOT / "README.md"), "http://127.0.0.1:1"], "is no picture"),
        ([str(pictures.SAMPLES), "http://127.0.0.1:1"], "is a folder"),
        ([KOALA, "http://127.0.0.1:1", "-o", "/absent/x.json"], "/absent/x.json cannot be written"),
        ([KOALA, "http://127.0.0.1:1", "--key", "clé"], "the key has characters"),
        ([KOALA, f"http://127.0.0.1:{free_port()}"], "make run"),
        ([KOALA, f"http://127.0.0.1:{free_port()}", "-b", "10"], "make run"),
    ],
)
def test_exit_code_2_and_one_sentence(arguments: list[str], words: str) -> None:
    result = loadtest(*arguments)
    assert result.exit_code == 2 and words in result.stderr and not result.stdout
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, {"error": {"code": "unauthorized", "message": "A key is needed."}}, "A key is needed. Give its key"),
        (404, {"error": {"code": "unknown_model", "message": "Known models: a."}}, "Known models: a"),
        (404, b"<html>", "not as a Ninefold server does"),
        (200, b"<html>", "not as a Ninefold server does"),
        (200, predicted(row_bad("too_many_pixels")), "too_many_pixels: No picture"),
    ],
)
def test_what_would_fail_each_time_is_said_and_asked_once(status: int, body: object, words: str) -> None:
    with known(lambda _, __, handler: send(handler, body, status)) as server:
        result = loadtest(KOALA, server.url, "-s", 5)
        assert len(server.posts) == 1
    assert result.exit_code == 2 and words in result.stderr and not result.stdout


def test_https_where_there_is_none_is_said() -> None:
    with known() as server:
        result = loadtest(KOALA, server.url.replace("http:", "https:"))
    assert result.exit_code == 2 and "does not speak TLS" in result.stderr


def test_a_busy_server_is_worth_measuring(figures: Any) -> None:
    busy = {"error": {"code": "overloaded", "message": "Later."}}
    with known(lambda _, __, handler: send(handler, busy, 429)) as server:
        code, found = figures(KOALA, server.url, "-s", 4)
    assert code == 1 and found["errors"] == {"status 429": 4}


# -- how it ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hangs", [False, True])
def test_ctrl_c_says_what_was_measured_and_ends_all_workers(hangs: bool, tmp_path: Path) -> None:
    def script(number: int, asked: Asked, handler: object) -> object:
        if hangs and number > 40:
            time.sleep(30)
        return fine(number, asked, handler)

    with known(script) as server:
        command = [sys.executable, "-m", "cli.main", "loadtest", KOALA, server.url, "-w", "2", "-t", "2", "-i", "600"]
        process = subprocess.Popen(
            [*command, "-o", str(tmp_path / "figures.json")],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            wait_for(lambda: len(server.posts) > 40)
            workers = psutil.Process(process.pid).children(recursive=True)
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all
            said, complained = process.communicate(timeout=30)
        finally:
            process.kill()
    found = json.loads((tmp_path / "figures.json").read_text())
    assert process.returncode == 130 and "requests per second" in said and "stopped" in complained
    assert "Traceback" not in complained
    assert found["stopped"] is True and len(server.posts) - 5 <= found["requests"] <= len(server.posts) - 1
    assert len(workers) >= 2
    wait_for(lambda: not any(worker.is_running() for worker in workers))


def test_workers_end_with_a_parent_that_is_killed() -> None:
    with known() as server:
        command = [sys.executable, "-m", "cli.main", "loadtest", KOALA, server.url, "-w", "2", "-i", "600"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: len(server.posts) > 20)
            workers = psutil.Process(process.pid).children(recursive=True)
        finally:
            process.kill()
            process.wait(10)
        assert len(workers) >= 2
        wait_for(lambda: not any(worker.is_running() for worker in workers))


def test_figures_of_a_worker_that_lost_a_thread_are_not_shown(tmp_path: Path) -> None:
    """Nothing is known that would end a thread; so a module that Python imports at its start breaks one."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading\nfrom cli.loadtest.asking import Connection\nask = Connection.ask\n"
        "def broken(self, body):\n"
        "    assert threading.current_thread() is threading.main_thread(), 'it broke'\n"
        "    return ask(self, body)\n"
        "Connection.ask = broken\n"
    )
    with known() as server:
        command = [sys.executable, "-m", "cli.main", "loadtest", KOALA, server.url]
        env = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2 and not done.stdout
    assert "it broke" in done.stderr and "a worker was lost" in done.stderr


def test_figures_of_a_lost_worker_are_not_shown() -> None:
    with known() as server:
        command = [sys.executable, "-m", "cli.main", "loadtest", KOALA, server.url, "-w", "2", "-i", "600"]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: len(server.posts) > 20)
            workers = psutil.Process(process.pid).children(recursive=True)
            next(worker for worker in workers if "cli.loadtest.worker" in worker.cmdline()).kill()
            said, complained = process.communicate(timeout=30)
        finally:
            process.kill()
    assert process.returncode == 2 and not said and "a worker was lost" in complained


# -- what it shows -------------------------------------------------------------------------------------------------


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    with known(_misbehaves) as server:
        result = loadtest(KOALA, server.url, "-s", 5, "--png", tmp_path / "plot.png")
    assert result.exit_code == 1
    for words in (server.url, "closed loop, 1 connection, 1 image a request", "inferences per second", "latency p99",
                  "error: status 503", "bytes sent"):  # fmt: skip
        assert words in result.stdout
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("timeline", "elapsed", "edges"),
    [
        ([4], 0.2, [0, 0.2]),
        ([4, 4, 1], 2.1, [0, 1, 2]),
        ([4, 4, 3], 2.7, [0, 1, 2, 2.7]),
        ([4, 4, 0, 1], 2.0, [0, 1, 2, 3, 4]),
        ([], 1.0, [0]),
    ],
)
def test_a_rate_is_of_a_time_that_was(timeline: list[int], elapsed: float, edges: list[float]) -> None:
    rows, found = plot._seconds({"timeline": [{"answered": n} for n in timeline], "elapsed_seconds": elapsed})
    assert found == edges or not timeline
    assert [row["answered"] for row in rows] == timeline[: max(len(edges) - 1, 0)]


def test_json_in_place_of_the_table_and_no_password_in_it() -> None:
    with known() as server:
        result = loadtest(KOALA, server.url.replace("//", "//me:secret@"), "-s", 3, "--json")
        assert {asked.headers["authorization"] for asked in server.posts} == {"Basic bWU6c2VjcmV0"}
    found = json.loads(result.stdout)
    assert found["answered"] == 3 and found["answered_by"] == {"m p": 3}
    assert found["url"] == f"{server.url}/v1/predict"


def test_two_that_answered_are_told_apart() -> None:
    def script(number: int, *_: object) -> object:
        return predicted(row_ok()) | {"precision": "int8" if number > 2 else "fp32"}

    with known(script) as server:
        result = loadtest(KOALA, server.url, "-s", 5)
    assert "m int8 and m fp32 at" in result.stdout and "answered by m fp32" in result.stdout


def test_its_own_ceiling_needs_no_server(tmp_path: Path) -> None:
    for images in ((), ("-b", 12)):
        result = loadtest("--ceiling", "-i", 0.2, "-w", 2, "-o", tmp_path / "ceiling.json", *images)
        assert result.exit_code == 0, result.output
        found = json.loads((tmp_path / "ceiling.json").read_text())
        assert [(each["workers"], each["threads"]) for each in found] == [(1, 1), (1, 4), (2, 4)]
        assert all(each["requests"] == each["answered"] > 0 for each in found)


def test_a_real_server(models_dir: Path, figures: Any) -> None:
    with serve(models_dir) as service:
        code, found = figures(KOALA, MACAW, service.url, "-b", 2, "-s", 4, "-t", 2)
        assert code == 0 and (found["answered"], found["inferences"]) == (8, 16)
        code, found = figures(KOALA, MACAW, service.url, "-b", 12, "-s", 2)
        assert code == 0 and (found["answered"], found["inferences"]) == (2, 24)
        unknown = loadtest(KOALA, service.url, "-b", 12, "--model", "alexnet")
        assert unknown.exit_code == 2 and "Known models" in unknown.stderr


# -- what it needs -------------------------------------------------------------------------------------------------


def test_help_stays_quick() -> None:
    heavy = "{'pycurl', 'ddsketch', 'matplotlib', 'uvloop', 'multiprocessing'}"
    code = f"import sys; import cli.main; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"
