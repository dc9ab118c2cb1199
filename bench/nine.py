"""What nine pictures in one request cost against one, on a server with nothing else to do.

    python -m bench.nine

One request at a time; requests with one picture and with nine take turns. With as many lanes as cores, nine pictures
are nine pictures' work on that many cores: 9 ÷ cores is what the ratio comes to if a request costs nothing else.
"""

from __future__ import annotations

import itertools
import statistics
import time

import httpx
from rich.console import Console
from rich.table import Table

from bench.photographs import COUNT, alike
from bench.servers import measured, own_server
from bench.table import bars, options, ran_on, ratios, spread, turns
from inference.devices import cpu_count

ONE, NINE = "one picture", "nine pictures"
PICTURES = {ONE: 1, NINE: 9}


def p50(http: httpx.Client, pictures: list[bytes], count: int, seconds: float) -> float:
    """Milliseconds of a request with `count` pictures."""
    files, end = itertools.cycle(pictures), time.monotonic() + seconds
    taken: list[float] = []
    while time.monotonic() < end or not taken:
        body = [("images", (f"{number}.jpg", next(files))) for number in range(count)]
        begun = time.perf_counter()
        rows = http.post("/v1/predict", files=body).raise_for_status().json()["results"]
        taken.append(1000 * (time.perf_counter() - begun))
        if any(row["status"] != "ok" for row in rows):
            raise SystemExit(f"bench: not every picture was answered: {rows}")
    return statistics.median(taken)


def main() -> None:
    """Prints one table, draws it."""
    given = options(__doc__, "nine").parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    pictures = [photograph.data for photograph in alike(COUNT, given.megapixels)]
    figures: dict[str, list[float]] = {ONE: [], NINE: []}
    with own_server(**measured(given.precision)) as (url, _), httpx.Client(base_url=url, trust_env=False) as http:
        p50(http, pictures, 9, 1)  # warm-up
        for number in range(rounds):
            for way in turns([ONE, NINE], number):
                figures[way].append(p50(http, pictures, PICTURES[way], seconds))
    table = Table("", "p50, ms", title="An idle server, one request at a time", caption=ran_on())
    for way in (ONE, NINE):
        table.add_row(way, spread(figures[way]))
    table.add_row("ratio", spread(ratios(figures[NINE], figures[ONE]), 1))
    table.add_row("9 ÷ cores", f"{9 / cpu_count():.1f}")
    Console(width=100).print(table)
    bars(given.png, "p50 of a request", "milliseconds", figures)


if __name__ == "__main__":
    main()
