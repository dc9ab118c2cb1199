"""The server as the process people start: its start, its memory, its end."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests import pictures
from tests.servers import ROOT, process

KOALA = ("koala.jpg", pictures.sample("koala.jpg"))


def megabytes(pid: int) -> float:
    return psutil.Process(pid).memory_info().rss / 1e6


def start_and_fail(**environment: str) -> str:
    """The sentence on standard error of a server that cannot start."""
    done = subprocess.run(
        [sys.executable, "-m", "backend"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        check=False,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("ninefold: the server cannot start: ") and done.stderr.count("\n") == 1
    return done.stderr


def test_torch_is_not_in_the_servers_process(models_dir: Path) -> None:
    code = (
        "import sys, asyncio\n"
        "from pathlib import Path\n"
        "from backend.app import create_app\n"
        "from backend.settings import Settings\n"
        "app = create_app(Settings(models_dir=Path(sys.argv[1])))\n"
        "async def main():\n"
        "    async with app.router.lifespan_context(app):\n"
        "        while not app.state.predictor.ready: await asyncio.sleep(0.01)\n"
        "asyncio.run(main())\n"
        "print('torch' in sys.modules, 'openvino' in sys.modules)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, str(models_dir)], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert out.stdout.splitlines()[-1] == "False True", out.stderr


def test_memory_is_small_and_flat_over_500_requests(models_dir: Path) -> None:
    with process(models_dir, NINEFOLD_THREADS="2", NINEFOLD_DECODE_THREADS="2") as server:
        server.wait_ready()
        assert server.process is not None
        pid, seen = server.process.pid, []
        photographs = [(name, pictures.sample(name)) for name in ("koala.jpg", "cat.jpg", "macaw.jpg")]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                rows = list(pool.map(lambda n: server.predict(photographs[n % 3])[0]["status"], range(100)))
                assert rows == ["ok"] * 100
                seen.append(megabytes(pid))
        assert max(seen) <= 300, seen
        assert seen[-1] <= seen[1] * 1.05, seen


def test_sigterm_finishes_what_was_accepted(models_dir: Path) -> None:
    slow = pictures.encode(pictures.photo((500, 400)).resize((6000, 4800)), "PNG", compress_level=1)
    assert len(slow) < 25_000_000
    with process(models_dir) as server:
        server.wait_ready()
        assert server.process is not None
        answers: list[str] = []
        asking = threading.Thread(
            target=lambda: answers.extend(row["status"] for row in server.predict(*[("slow", slow)] * 3))
        )
        asking.start()
        deadline = time.monotonic() + 10
        while not server.metric('ninefold_waiting_images{priority="interactive"}'):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        server.process.send_signal(signal.SIGTERM)
        asking.join(30)
        assert answers == ["ok"] * 3
        assert server.process.wait(20) in (0, -signal.SIGTERM)


def test_the_process_ends_while_a_picture_is_still_being_decoded() -> None:
    """A thread that is busy for minutes: neither the scheduler nor Python's own end may wait for it."""
    code = (
        "import asyncio, time\n"
        "from backend.__main__ import _leave\n"
        "from inference.artefacts import Variant\n"
        "from inference.scheduler import Priority, Scheduler\n"
        "class Slow:\n"
        "    max_batch = memory_bytes = 1\n"
        "    def __call__(self, pixels): time.sleep(300)\n"
        "async def main():\n"
        "    scheduler = Scheduler(lambda _: Slow(), lanes=1)\n"
        "    work = scheduler.run_made(Variant('a', 'fp32'), lambda: time.sleep(300), Priority.LIVE)\n"
        "    task = asyncio.create_task(work)\n"
        "    await asyncio.sleep(0.5)\n"
        "    task.cancel()\n"
        "    await scheduler.close()\n"
        "asyncio.run(main())\n"
        "_leave()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert "still being decoded" in done.stderr


def test_a_missing_model_that_was_asked_for_stops_the_start(models_dir: Path, tmp_path: Path) -> None:
    said = start_and_fail(NINEFOLD_MODELS_DIR=str(models_dir), NINEFOLD_MODEL="resnet18", NINEFOLD_PORT="0")
    assert "ninefold models build resnet18" in said
    assert "Known models" in start_and_fail(
        NINEFOLD_MODELS_DIR=str(models_dir), NINEFOLD_MODEL="resnet", NINEFOLD_PORT="0"
    )
    assert "ninefold models build" in start_and_fail(NINEFOLD_MODELS_DIR=str(tmp_path), NINEFOLD_PORT="0")


def test_a_port_in_use_is_one_sentence(models_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = start_and_fail(NINEFOLD_MODELS_DIR=str(models_dir), NINEFOLD_PORT=str(taken.getsockname()[1]))
    assert "NINEFOLD_PORT" in said and str(taken) not in said


def test_a_wrong_setting_is_one_sentence(models_dir: Path) -> None:
    assert "NINEFOLD_PORT" in start_and_fail(NINEFOLD_PORT="high")
    assert "NINEFOLD_QUEUE_IMAGES" in start_and_fail(NINEFOLD_QUEUE_IMAGES="1")


def test_a_full_disk_refuses_what_does_not_fit_and_answers_what_does(models_dir: Path, full_disk: Path) -> None:
    with process(models_dir, TMPDIR=str(full_disk)) as server:
        server.wait_ready()
        refused = server.post(("big.jpg", b"\0" * 20_000_000))
        assert refused.status_code == 507 and refused.json()["error"]["code"] == "disk_full"
        assert server.predict(KOALA)[0]["status"] == "ok"


@pytest.mark.parametrize("format", ["json", "console"])
def test_each_request_is_one_line_of_the_log_with_its_id(models_dir: Path, format: str) -> None:
    import json

    with process(models_dir, NINEFOLD_LOG_FORMAT=format) as server:
        server.wait_ready()
        server.client.post("/v1/predict", files={"images": KOALA}, headers={"x-request-id": "abc-7"})
        lines = [line for line in server.stop().splitlines() if "abc-7" in line]
        assert len(lines) == 1
        if format == "json":
            record = json.loads(lines[0])
            assert (record["event"], record["status"], record["request_id"]) == ("request", 200, "abc-7")
