"""The end of a server behind a proxy."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests import pictures
from tests.servers import process

KOALA = ("koala.jpg", pictures.sample("koala.jpg"))


def test_a_server_that_drains_answers_on_and_says_that_it_goes(models_dir: Path) -> None:
    with process(models_dir, NINEFOLD_DRAIN_SECONDS="2") as server:
        server.wait_ready()
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + 10
        while (told := server.client.get("/readyz")).status_code == 200:
            assert time.monotonic() < deadline
        assert (told.status_code, told.json()["error"]["code"]) == (503, "draining")
        assert server.client.get("/healthz").status_code == 200
        assert server.predict(KOALA)[0]["status"] == "ok"
        assert server.process.poll() is None
        assert server.process.wait(20) in (0, -signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_and_ctrl_c_do_not_wait_for_it(models_dir: Path, number: signal.Signals) -> None:
    with process(models_dir, NINEFOLD_DRAIN_SECONDS="600") as server:
        server.wait_ready()
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        while server.client.get("/readyz").status_code == 200:
            time.sleep(0.02)
        server.process.send_signal(number)
        assert server.process.wait(20) in (0, -number)
