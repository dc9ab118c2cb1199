"""What a request costs the server besides decoding and inference: processor time, without sockets.

    python -m bench.overhead              milliseconds of the processor a request: all threads, and the event loop's
    python -m bench.overhead --profile    where the event loop's thread spends them

The real application is called as a server calls it, eight requests at a time; decoding and inference answer at once
with what was made before. The one measurement that looks into the server: processor time cannot be had over HTTP.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import os
import pstats
import statistics
import time
from pathlib import Path

import numpy as np
import uvloop
from rich.console import Console
from rich.table import Table

from backend import decoding
from backend.app import create_app
from backend.logs import configure_logs
from backend.settings import Settings
from inference.openvino_classifier import OpenVinoClassifier
from modelzoo.build import GOLDEN
from tests.asgi import ask, multipart

REQUESTS, AT_ONCE, ROUNDS = 60, 8, 7
PHOTOGRAPH_BYTES = 120_000


def without_work() -> None:
    """Decoding and inference cost nothing from now on; the first answer, to the golden image, is a real one."""
    pixels = np.zeros((224, 224, 3), np.uint8)
    logits = np.random.default_rng(0).normal(size=(1, 1000)).astype(np.float32)
    real, calls = OpenVinoClassifier.__call__, iter([True])
    decoding.to_pixels = lambda *_: pixels
    OpenVinoClassifier.__call__ = lambda self, given: real(self, given) if next(calls, False) else logits


async def measure(profile: bool, console: Console) -> None:
    """Prints one table, and the profile if wanted."""
    body = multipart(GOLDEN.read_bytes().ljust(PHOTOGRAPH_BYTES, b"\0"))
    app = create_app(Settings(models_dir=Path("models"), model="resnet18-seeded", precision="fp32", threads=2))
    async with app.router.lifespan_context(app):
        async with asyncio.timeout(60):
            while not app.state.predictor.ready:  # noqa: ASYNC110  # it has no event to wait for
                await asyncio.sleep(0.02)

        async def some(requests: int) -> None:
            for _ in range(requests):
                if (status := await ask(app, body)) != 200:
                    raise SystemExit(f"bench: the server answered {status}")

        await asyncio.gather(*(some(REQUESTS) for _ in range(AT_ONCE)))
        rounds = []
        for _ in range(ROUNDS):
            process, thread = time.process_time(), time.thread_time()
            await asyncio.gather(*(some(REQUESTS) for _ in range(AT_ONCE)))
            count = REQUESTS * AT_ONCE / 1000
            rounds.append(((time.process_time() - process) / count, (time.thread_time() - thread) / count))
        table = Table("", "median", "least", "most", title="processor time of a request, ms")
        for name, values in zip(("all threads", "the event loop's"), zip(*rounds, strict=True), strict=True):
            table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(values), min(values), max(values))))
        console.print(table)
        if profile:
            with cProfile.Profile() as profiler:
                await some(400)
            pstats.Stats(profiler, stream=console.file).sort_stats("cumulative").print_stats(40)


def main() -> None:
    """Measures once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", action="store_true")
    given = parser.parse_args()
    terminal = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the server's log lines are written, as they are in earnest
    configure_logs("json")
    without_work()
    uvloop.run(measure(given.profile, Console(file=terminal, width=110)))


if __name__ == "__main__":
    main()
