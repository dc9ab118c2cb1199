"""Real servers on loopback for tests: within this process (to reach its parts), or as the process people start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import httpx
import structlog
from fastapi import FastAPI

from backend.app import create_app
from backend.connections import uvicorn_config
from backend.draining import DrainingServer
from backend.settings import Settings

ROOT = Path(__file__).parent.parent


class Service:
    """A running server: its app (when it lives in this process), its process (when it does not), a client."""

    def __init__(
        self,
        url: str,
        app: FastAPI | None = None,
        process: subprocess.Popen[str] | None = None,
        log: IO[str] | None = None,
    ) -> None:
        self.url = url
        self.app = app
        self.process = process
        self.log = log
        self.client = httpx.Client(base_url=url, timeout=30)

    def post(self, *files: tuple[str, bytes], **params: Any) -> httpx.Response:
        """POST /v1/predict with these (name, bytes)."""
        parts = [("images", (name, data, "application/octet-stream")) for name, data in files]
        return self.client.post("/v1/predict", files=parts, params=params)

    def predict(self, *files: tuple[str, bytes], **params: Any) -> list[dict[str, Any]]:
        """The result rows of a request that is expected to be a 200."""
        answer = self.post(*files, **params)
        assert answer.status_code == 200, answer.text
        return answer.json()["results"]

    def metric(self, line: str) -> float:
        """The value of the metric whose line begins so, or 0."""
        lines = self.client.get("/metrics").text.splitlines()
        return next((float(found.rsplit(" ", 1)[1]) for found in lines if found.startswith(line)), 0.0)

    def stop(self) -> str:
        """Ends the process by SIGTERM, unless it has ended; returns what it wrote."""
        assert self.process is not None and self.log is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.log.seek(0)
        return self.log.read()

    def wait_ready(self, seconds: float = 30) -> None:
        """Waits for /readyz to answer 200."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self.client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process is None or self.process.poll() is None, "the server ended"
            assert time.monotonic() < deadline, f"not ready after {seconds} s"
            time.sleep(0.02)


@contextmanager
def serve(models_dir: Path, *, ready: bool = True, early: Any = None, **settings: Any) -> Iterator[Service]:
    """The server in a thread of this process; unless it is not to become ready, it is. `early`: an EarlyLoad."""
    structlog.configure(  # into the standard library's records, where caplog sees them
        processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    read = Settings(models_dir=models_dir, shutdown_seconds=10, **settings)
    app = create_app(read, early)
    server = DrainingServer(uvicorn_config(app, read), app, read.drain_seconds)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.005)
    service = Service(f"http://127.0.0.1:{listener.getsockname()[1]}", app)
    try:
        if ready:
            service.wait_ready()
        yield service
    finally:
        service.client.close()
        server.should_exit = True
        thread.join(20)
        assert not thread.is_alive()


@contextmanager
def process(models_dir: Path, port: int | None = None, *, first: str = "", **environment: str) -> Iterator[Service]:
    """`python -m backend` as a process of its own; `first` is Python that it runs before anything is imported."""
    port = port or free_port()
    env = os.environ | {"NINEFOLD_MODELS_DIR": str(models_dir), "NINEFOLD_PORT": str(port)} | environment
    run = "import runpy, sys; sys.path.insert(0, ''); runpy.run_module('backend', run_name='__main__')"
    how = ["-c", f"{first}; {run}"] if first else ["-m", "backend"]
    # To a file: a pipe that nobody reads would stop the server once it is full.
    with TemporaryFile("w+", encoding="utf-8") as log:
        child = subprocess.Popen(
            [sys.executable, *how], cwd=ROOT, env=env, text=True, stdout=log, stderr=subprocess.STDOUT
        )
        service = Service(f"http://127.0.0.1:{port}", process=child, log=log)
        try:
            yield service
        finally:
            service.client.close()
            service.stop()


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
