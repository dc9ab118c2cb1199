"""How soon the server is ready, and what memory it holds after 500 requests.

python -m bench.memory
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import psutil
from rich.console import Console
from rich.table import Table

from bench.photographs import samples
from bench.servers import own_server

REQUESTS = 500
CONNECTIONS = 8


def main() -> None:
    """Prints one table: seconds to ready, then resident memory every hundred requests."""
    photographs = list(samples())
    begun = time.monotonic()
    table = Table("after", "resident memory")
    with own_server() as (url, process), httpx.Client(base_url=url, timeout=60) as client:
        table.title = f"ready {time.monotonic() - begun:.1f} s after its start"
        table.add_row("start", _megabytes(process.pid))

        def ask(number: int) -> None:
            photograph = photographs[number % len(photographs)]
            client.post("/v1/predict", files={"images": (photograph.name, photograph.data)}).raise_for_status()

        with ThreadPoolExecutor(CONNECTIONS) as pool:
            for done in range(100, REQUESTS + 1, 100):
                list(pool.map(ask, range(done - 100, done)))
                table.add_row(f"{done} requests", _megabytes(process.pid))
    Console().print(table)


def _megabytes(pid: int) -> str:
    return f"{psutil.Process(pid).memory_info().rss / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
