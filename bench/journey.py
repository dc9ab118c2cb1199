"""A zip of thousands from the browser's drop zone to its results: the time of each stage, and each process's memory.

    python -m bench.journey                                4,500 photographs, 495 MB, made of the samples
    python -m bench.journey --images 500 --megabytes 55

The whole application as `make run` starts it, on ports of its own, and a headless Chromium that uploads by the page.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.sync_api import Page, sync_playwright
from rich.console import Console
from rich.table import Table

from bench.zips import make_zip
from scripts.browser import find_browser
from tests.e2e.harness import ARGUMENTS
from tests.servers import free_port

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 1800
PARTS = {"backend": "server", "streamlit": "page", "localcloud": "S3, Lambda, Glue"}


class Memory:
    """The resident memory of the application's processes, watched twice a second."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._stop = threading.Event()
        self.now: dict[str, float] = {}
        self.peak: dict[str, float] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Looks no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.now = self._look()
            for name, megabytes in self.now.items():
                self.peak[name] = max(megabytes, self.peak.get(name, 0))

    def _look(self) -> dict[str, float]:
        found: dict[str, float] = {}
        for process in self._root.children(recursive=True):
            with suppress(psutil.Error):
                name = _name(process)
                if name:
                    found[name] = max(process.memory_info().rss / 1e6, found.get(name, 0))
        return found


def _name(process: psutil.Process) -> str | None:
    words = process.cmdline()
    if "pyspark.daemon" in words:
        return "Glue: a Python worker"
    if process.name() == "java":
        return "Glue: Spark's JVM"
    if any(word.endswith("preprocess.py") for word in words):
        return "Glue: the driver"
    module = words[words.index("-m") + 1] if "-m" in words[:-1] else ""
    return PARTS.get(module)


@contextmanager
def application() -> Iterator[tuple[str, str, psutil.Process]]:
    """The addresses of API and page, and the process that started everything."""
    ports = {name: str(free_port()) for name in ("NINEFOLD_PORT", "NINEFOLD_PAGE_PORT", "NINEFOLD_CLOUD_PORT")}
    api, page = (f"http://127.0.0.1:{ports[name]}" for name in ("NINEFOLD_PORT", "NINEFOLD_PAGE_PORT"))
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "scripts.run"], cwd=ROOT, env=os.environ | ports, stdout=log, stderr=log
        )
        try:
            _until(lambda: _answers(f"{api}/readyz") and _answers(f"{page}/_stcore/health"), process)
            _until(lambda: _answers(f"{api}/v1/batches"), process)
            yield api, page, psutil.Process(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, trust_env=False, timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _until(true: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit("bench: the application did not start")
        time.sleep(0.1)


def travel(page: Page, address: str, api: str, archive: Path) -> tuple[dict[str, float], dict[str, Any]]:
    """Seconds of each stage, and the batch as it is in the end."""
    page.goto(f"{address}/batch")
    chooser = page.locator("input[type=file]")
    chooser.wait_for(state="attached", timeout=60_000)
    seconds: dict[str, float] = {}
    begun = time.monotonic()
    chooser.set_input_files(archive)

    def stage(name: str, *states: str) -> dict[str, Any]:
        nonlocal begun
        deadline = time.monotonic() + PATIENCE
        while (found := _newest(api)).get("state") not in states:
            if found.get("state") == "failed" or time.monotonic() > deadline:
                sys.exit(f"bench: {name}: {found}")
            page.wait_for_timeout(200)
        seconds[name], begun = time.monotonic() - begun, time.monotonic()
        return found

    stage("upload, by the browser", "uploaded", "preprocessing", "ready")
    stage("preprocessing (Lambda, Glue)", "ready")
    button = page.get_by_role("button", name="Batch predict", exact=True)
    button.wait_for(timeout=30_000)
    begun = time.monotonic()
    button.click()
    found = stage("prediction", "done")
    with httpx.stream("GET", f"{api}/v1/batches/{found['id']}/results", trust_env=False, timeout=600) as answer:
        size = sum(len(piece) for piece in answer.iter_bytes())
    seconds[f"results as JSON ({size / 1e6:.1f} MB)"] = time.monotonic() - begun
    page.locator(".nf-tile").first.wait_for(timeout=60_000)
    return seconds, found


def _newest(api: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = httpx.get(f"{api}/v1/batches", trust_env=False, timeout=60).json().get("batches", [])
    return found[0] if found else {}


def show(seconds: dict[str, float], batch: dict[str, Any], idle: dict[str, float], memory: Memory) -> None:
    """Two tables."""
    stages = Table(
        "stage", "seconds", "images per second", title=f"{batch['images']} images, {batch['size_bytes']:,} bytes"
    )
    for name, took in seconds.items():
        stages.add_row(name, f"{took:.1f}", f"{batch['images'] / took:.0f}")
    total = sum(seconds.values())
    stages.add_row("all", f"{total:.1f}", f"{batch['images'] / total:.0f}")
    used = Table("process", "idle, MB", "peak, MB", "more, MB", title="resident memory")
    for name, peak in sorted(memory.peak.items()):
        before = idle.get(name)
        used.add_row(name, f"{before:.0f}" if before else "–", f"{peak:.0f}", f"{peak - before:.0f}" if before else "–")
    console = Console(width=110)
    console.print(stages)
    console.print(used)
    counts = batch["predictions"][0]["counts"]
    console.print(f"predictions + errors + skipped = entries: {counts}")


def main() -> None:
    """Makes the zip, starts everything, sends it, prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=4500)
    parser.add_argument("--megabytes", type=float, default=495)
    given = parser.parse_args()
    samples = os.environ.get("NINEFOLD_SAMPLES") or sys.exit(
        "bench: NINEFOLD_SAMPLES must name a folder of photographs"
    )
    browser = find_browser() or sys.exit("bench: no Chromium")
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, sync_playwright() as playwright:
        archive = Path(scratch) / "photos.zip"
        make_zip(archive, Path(samples), given.images, given.megabytes)
        with application() as (api, address, process):
            chromium = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)
            page = chromium.new_page()
            page.goto(f"{address}/batch")
            page.locator("input[type=file]").wait_for(state="attached", timeout=60_000)
            memory = Memory(process)
            time.sleep(3)
            idle = dict(memory.now)
            seconds, batch = travel(page, address, api, archive)
            memory.stop()
            show(seconds, batch, idle, memory)
            chromium.close()


if __name__ == "__main__":
    main()
