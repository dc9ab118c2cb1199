"""At 1, 3 and 10 times the load that the server can carry: whom it still serves, and how it refuses the others.

    python -m bench.overload

First its peak, closed loop. Then an open loop, whose requests come by schedule whatever the server does; latencies
count from when a request was due. Goodput is what was answered with 200 per second. Every twentieth request sends its
header alone: of the refused among them, all should be so before their body was sent. Afterwards the server is asked
gently, a tenth of its peak, second by second, until it is as quick as before: what that takes is at least the one
second that the first look lasts. Memory during the load is the most that was seen.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from bench.client import Plan, Report, load
from bench.photographs import COUNT, alike
from bench.servers import measured, own_server, resident_megabytes
from bench.table import options, ran_on, spread

TIMES = (1, 3, 10)
HELD = 20
NORMAL = 2.0
"""Normal again: a gentle second's median latency is at most so many times that of before."""


class Overload:
    """A server, the photographs it is asked with, and its memory."""

    def __init__(self, url: str, root: psutil.Process, data: list[bytes], seconds: float) -> None:
        self._url = f"{url}/v1/predict"
        self._root = root
        self._data = data
        self._seconds = seconds

    def peak(self) -> float:
        """Requests per second, closed loop."""
        return float(load(Plan(self._url, self._seconds), self._data)["rate"])

    def gently(self, peak: float) -> Report:
        """A second's open loop at a tenth of the peak."""
        return load(Plan(self._url, 1, rate=max(peak / 10, 5), arrivals="constant"), self._data)

    def at(self, times: int, peak: float) -> Report:
        """Open loop at so many times the peak; memory before, during and after it; seconds until normal."""
        before = resident_megabytes(self._root)
        usual = statistics.median(self.gently(peak)["latency_ms"]["p50"] for _ in range(3))
        with Watched(self._root) as watched:
            report = load(Plan(self._url, self._seconds, rate=times * peak, hold=HELD), self._data)
        ended = time.monotonic()
        while (slow := self.gently(peak)["latency_ms"].get("p50", 1e9)) > NORMAL * usual:
            if time.monotonic() > ended + 60:
                raise SystemExit(f"bench: a minute after the load the server still takes {slow:.0f} ms")
        normal = time.monotonic() - ended
        return report | {"memory": (before, watched.most, resident_megabytes(self._root)), "normal": normal}


class Watched:
    """The most memory that a process and its children held within the block, looked at five times a second."""

    def __init__(self, root: psutil.Process) -> None:
        self._root = root
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.most = 0.0

    def __enter__(self) -> Watched:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.most = max(self.most, resident_megabytes(self._root))


def show(peak: Sequence[float], found: dict[int, list[Report]]) -> Table:
    """A row a load."""
    table = Table(
        *("load", "goodput, 1/s", "of the peak", "p50, ms", "p99", "429", "refused in, ms: p50", "p99"),
        *("before the body", "else", "RSS before, during, after", "normal after, s"),
        title=f"open loop; the peak of the closed loop is {spread(peak)} requests per second",
        caption=ran_on(),
    )
    for times, reports in found.items():
        goodput = [report["rate"] for report in reports]
        counts = [report["counts"] for report in reports]
        memory = [statistics.median(column) for column in zip(*(report["memory"] for report in reports), strict=True)]
        held = [report["held"] for report in reports]
        table.add_row(
            f"{times}×",
            spread(goodput),
            spread([100 * rate / statistics.median(peak) for rate in goodput], unit=" %"),
            *(_median(reports, "latency_ms", share) for share in ("p50", "p99")),
            f"{sum(count.get('429', 0) for count in counts)} of {sum(sum(count.values()) for count in counts)}",
            *(_median(reports, "refusal_ms", share, 1) for share in ("p50", "p99")),
            f"{sum(each['refused_before_body'] for each in held)} of {sum(each['refused'] for each in held)}",
            str(sum(sum(count.values()) - count.get("200", 0) - count.get("429", 0) for count in counts)),
            " ".join(f"{each:.0f}" for each in memory),
            spread([report["normal"] for report in reports], 1),
        )
    return table


def _median(reports: list[Report], what: str, share: str, digits: int = 0) -> str:
    figures = [report[what][share] for report in reports if report[what]]
    return f"{statistics.median(figures):.{digits}f}" if figures else "–"


def draw(path: Path, found: dict[int, list[Report]]) -> None:
    """What was due and what was answered in each second, of the first round."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, every = plt.subplots(1, len(found), figsize=(4 * len(found), 3), layout="constrained", squeeze=False)
    for axes, (times, reports) in zip(every[0], found.items(), strict=True):
        timeline = reports[0]["timeline"]
        seconds = [row["second"] for row in timeline]
        axes.step(seconds, [row["due"] for row in timeline], where="mid", label="asked", color="#999999")
        axes.step(seconds, [row["answered"] for row in timeline], where="mid", label="answered", color="#4c72b0")
        axes.set(title=f"{times}× the peak", xlabel="second", ylabel="requests per second", ylim=(0, None))
        axes.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    """Prints one table, draws it."""
    given = options(__doc__, "overload", rounds=3, seconds=10).parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    data = [photograph.data for photograph in alike(COUNT, given.megapixels)]
    peak: list[float] = []
    found: dict[int, list[Report]] = {times: [] for times in TIMES}
    with own_server(**measured(given.precision)) as (url, root):
        overload = Overload(url, root, data, seconds)
        overload.peak()  # warm-up
        for _ in range(rounds):
            peak.append(overload.peak())
            for times in TIMES:
                found[times].append(overload.at(times, peak[-1]))
    Console(width=170).print(show(peak, found))
    draw(given.png, found)


if __name__ == "__main__":
    main()
