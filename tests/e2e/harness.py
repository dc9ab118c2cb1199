"""A Chromium and a page process, for the end-to-end tests and for the screenshots."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

import httpx

from tests.servers import ROOT, free_port

QUIET = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
CAMERA = ("--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream")
ARGUMENTS = [*QUIET, *CAMERA]


@contextmanager
def page_process(api_url: str) -> Iterator[str]:
    """The page as people start it; gives its address."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.address",
        "127.0.0.1",
    ]
    env = os.environ | {"NINEFOLD_API_URL": api_url}
    with TemporaryFile("w+", encoding="utf-8") as log:
        child = subprocess.Popen(command, cwd=ROOT / "frontend", env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/_stcore/health", child)
            yield f"http://127.0.0.1:{port}"
        finally:
            child.send_signal(signal.SIGTERM)
            child.wait(20)
            log.seek(0)
            written = log.read()
    assert "Traceback" not in written, written


def _wait(url: str, child: subprocess.Popen[bytes], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert child.poll() is None, "the page's process ended"
        try:
            if httpx.get(url, trust_env=False).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.05)
    raise TimeoutError(f"{url} did not answer within {seconds} s")
