"""`ninefold loadtest` beside wrk: what each of them can drive, and whether they measure the same.

    python -m bench.loadtest                 all of it, a quarter of an hour
    python -m bench.loadtest ceiling         both against a server that does nothing
    python -m bench.loadtest fixed           both against one that answers each request after 20 ms, after 50 ms
    python -m bench.loadtest server          both against the real server
    python -m bench.loadtest clients         what a request costs the HTTP clients of Python

Both are closed loops with the same body over as many connections, each kept alive. They are compared by turns, each
with all connections, after a round that does not count; and at once, each with half of them: then whatever else the
machine does, both see the same server. Ratios are of the same round. Where an answer takes long, rounds should be many
times longer (--seconds): what is on its way at the end wrk leaves out. wrk also adds latencies of requests that it
takes to have been held back (`stats_correct`); they are taken out again: what is compared is what was measured.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench import clients, wrk
from bench.photographs import Photograph, enlarged
from bench.servers import ROOT, measured, own_server
from bench.table import bars, options, ran_on, ratios, spread, turns
from bench.wrk import Figures
from cli.loadtest.bodies import bodies, pictures
from cli.loadtest.fleet import Measured, measure
from cli.loadtest.noop import noop
from cli.loadtest.plan import Body, Plan
from cli.loadtest.report import report

CEILING, FIXED, SERVER, CLIENTS = "ceiling", "fixed", "server", "clients"
OURS, WRK = "ninefold loadtest", "wrk"
SHAPES = ((1, 1), (1, 4), (2, 4))
"""Workers and threads of each, and so wrk's threads and connections."""
MILLISECONDS = (20, 50)
AGREED = 0.05
_HEAD_START_SECONDS = 1.0
_PAUSE_SECONDS = 0.5
"""After each, so that a server has done with what was left when its client went."""

Found = dict[str, list[Figures]]
"""Of each of the two, a round after the other."""


@dataclass(frozen=True)
class Bench:
    """What is asked, and for how long."""

    program: str
    body: Body
    rounds: int
    seconds: float

    def by_turns(self, url: str, workers: int, threads: int) -> Found:
        """One after the other, and the other way round in the next round."""
        found: Found = {OURS: [], WRK: []}
        for number in range(-1, self.rounds):
            for name in turns([OURS, WRK], number):
                seconds = self.seconds if number >= 0 else 1
                figures = (self._ours if name == OURS else self._wrk)(url, workers, threads, seconds)
                time.sleep(_PAUSE_SECONDS)
                if number >= 0:
                    found[name].append(figures)
        return found

    def at_once(self, url: str, threads: int) -> Found:
        """Each with so many connections, during the same seconds: wrk begins when the other's warm-up is over."""
        found: Found = {OURS: [], WRK: []}
        with ThreadPoolExecutor(1) as pool:
            for _ in range(self.rounds):
                other: list[Future[Figures]] = []

                def begin(so_far: Measured, other: list[Future[Figures]] = other) -> None:
                    if not other:
                        other.append(pool.submit(self._wrk, url, 1, threads, self.seconds, so_far.begin))

                found[OURS].append(self._ours(url, 1, threads, self.seconds, begin, _HEAD_START_SECONDS))
                found[WRK].append(other[0].result())
                time.sleep(_PAUSE_SECONDS)
        return found

    def _wrk(self, url: str, workers: int, threads: int, seconds: float, begin: float = 0) -> Figures:
        time.sleep(max(begin - time.monotonic(), 0))
        return wrk.run(self.program, f"{url}/v1/predict", self.body, workers, workers * threads, seconds)

    def _ours(
        self,
        url: str,
        workers: int,
        threads: int,
        seconds: float,
        tell: Callable[[Measured], None] = lambda _: None,
        warmup: float = 0,
    ) -> Figures:
        plan = Plan(f"{url}/v1/predict", workers=workers, threads=threads, seconds=seconds, warmup=warmup)
        told = report(measure(plan, [self.body], tell))
        if told["failed"] or not told["answered"] or told["stopped"]:
            sys.exit(f"bench: of {told['requests']} requests {told['failed']} failed: {told['errors']}")
        latency = told["latency_ms"]
        cpu = told["client_cpu_ms_per_request"]
        return Figures(told["requests_per_second"], latency["p50"], latency["p99"], cpu)


def ceiling(bench: Bench) -> Iterator[tuple[str, Found]]:
    """Both against a server that does nothing, of as many processes as they have workers."""
    for workers, threads in SHAPES:
        with noop(number=workers) as server:
            yield f"{workers} × {threads}", bench.by_turns(server.url, workers, threads)


def compared(bench: Bench, url: str, connections: int, name: str) -> Iterator[tuple[str, Found]]:
    """Both against the server at `url`, in both ways."""
    yield f"{name}, by turns", bench.by_turns(url, 1, connections)
    yield f"{name}, at once", bench.at_once(url, connections // 2)


def agreed(bench: Bench, what: list[str], connections: int, precision: str) -> Iterator[tuple[str, Found]]:
    """Both against servers with a fixed time of service, and against the one with the measurements' model."""
    for milliseconds in MILLISECONDS if FIXED in what else ():
        with noop(seconds=milliseconds / 1000) as server:
            yield from compared(bench, server.url, connections, f"{milliseconds} ms")
    if SERVER in what:
        with own_server(**measured(precision)) as (url, _):
            yield from compared(bench, url, connections, f"real, {precision}")


def of(found: Found, name: str) -> list[float]:
    """The ratios of a figure, ours / wrk's, round by round."""
    return ratios(*([getattr(each, name) for each in found[side]] for side in (OURS, WRK)))


def driven(found: Mapping[str, Found]) -> Table:
    """What each drives: a row for each number of workers and threads."""
    table = Table("workers × threads", *(f"{side}, requests/s" for side in (OURS, WRK)), "ratio", title="Ceiling")
    table.add_column("CPU a request: ours, wrk's")
    for name, each in found.items():
        rates = [spread([figures.rate for figures in each[side]]) for side in (OURS, WRK)]
        cpu = [f"{statistics.median(figures.cpu for figures in each[side]):.3f} ms" for side in (OURS, WRK)]
        table.add_row(name, *rates, spread(of(each, "rate"), 2), ", ".join(cpu))
    return table


def agreement(found: Mapping[str, Found], connections: int) -> Table:
    """Whether they measure the same: a row a server and way; a cell is the median of the rounds (least–most)."""
    table = Table(title=f"Agreement, ours / wrk's, {connections} connections")
    for column in ("server", "wrk's requests/s", "throughput", "p50", "p99"):
        table.add_column(column, no_wrap=True)
    for name, each in found.items():
        rate = spread([figures.rate for figures in each[WRK]])
        table.add_row(name, rate, *(spread(of(each, figure), 3) for figure in ("rate", "p50", "p99")))
    apart = [abs(statistics.median(of(each, name)) - 1) for each in found.values() for name in ("rate", "p50", "p99")]
    within = sum(each <= AGREED for each in apart)
    table.caption = f"{within} of {len(apart)} medians are within {AGREED:.0%} of wrk's; the farthest {max(apart):.1%}"
    return table


def request(megapixels: float | None) -> Body:
    """One photograph by multipart, as `ninefold loadtest` makes it; enlarged, if wanted."""
    sample = ROOT / "frontend" / "samples" / "koala.jpg"
    if not megapixels:
        return bodies(pictures([sample]), 1)[0]
    with TemporaryDirectory(prefix="bench-") as folder:
        path = Path(folder) / sample.name
        path.write_bytes(enlarged(Photograph(sample.name, sample.read_bytes(), None), megapixels).data)
        return bodies(pictures([path]), 1)[0]


def main() -> None:
    """Prints the tables, draws the agreement."""
    parser = options(__doc__, "loadtest", rounds=7)
    parser.add_argument("what", nargs="*", help=f"{CEILING}, {FIXED}, {SERVER}, {CLIENTS}; without it: all")
    parser.add_argument("--wrk", help="the program, where it is not on the PATH")
    parser.add_argument("--connections", type=int, default=16, help="where agreement is looked at")
    given = parser.parse_args()
    what = given.what or [CEILING, FIXED, SERVER, CLIENTS]
    if unknown := set(what) - {CEILING, FIXED, SERVER, CLIENTS}:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    rounds, seconds = (1, 1) if given.quick else (given.rounds, max(round(given.seconds), 1))  # wrk's are whole
    console, body = Console(width=110), request(given.megapixels)
    bench = Bench(wrk.found(given.wrk) if set(what) - {CLIENTS} else "", body, rounds, seconds)
    if CLIENTS in what:
        console.print(clients.table(body, rounds, seconds))
    if CEILING in what:
        console.print(driven(dict(ceiling(bench))))
    if found := dict(agreed(bench, what, given.connections, given.precision)):
        console.print(agreement(found, given.connections))
        bars(
            given.png, "throughput", "ninefold loadtest / wrk", {name: of(each, "rate") for name, each in found.items()}
        )
    print(f"{len(body.data) / 1000:.0f} KB a request, {rounds} rounds of {seconds} s; {ran_on()}")


if __name__ == "__main__":
    main()
