"""How near the server comes to what the cores allow: decoding alone, inference alone, both, and served over HTTP.

    python -m bench.roofline                   photographs of 120 KB, int8
    python -m bench.roofline --megapixels 12   a camera's files

The ways take turns in each round. `both` has as many threads as cores, each of which decodes and then infers: what the
machine can do if nothing else costs anything. From decoding at d and inference at i images per second alone,
1/(1/d + 1/i) is expected of it. What is served has the load generator on the same cores; its share is told.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from itertools import count
from statistics import median

from rich.console import Console
from rich.table import Table

from bench.client import Plan, load
from bench.photographs import COUNT, Photograph, alike
from bench.servers import artefact, measured, own_server
from bench.table import Rounds, bars, options, ran_on, ratios, spread, turns
from contract.transform import to_pixels
from inference.devices import cpu_count
from inference.openvino_classifier import OpenVinoClassifier

DECODE, INFER, BOTH, SERVED = "decoding alone", "inference alone", "both, in the same threads", "served over HTTP"


def images_per_second(work: Callable[[int], object], seconds: float, threads: int) -> float:
    """What `threads` threads get done, each doing `work` with the next number, until the time is over."""
    numbers, ended = count(), [0] * threads
    begun = time.perf_counter()

    def run(thread: int) -> None:
        while time.perf_counter() < begun + seconds:
            work(next(numbers))
            ended[thread] += 1

    running = [threading.Thread(target=run, args=(thread,)) for thread in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()
    return sum(ended) / (time.perf_counter() - begun)


class Roofline:
    """The four ways, on the same photographs."""

    def __init__(self, photographs: Iterable[Photograph], precision: str, url: str, seconds: float) -> None:
        chosen = artefact(precision)
        self._spec = chosen.card.transform
        self._data = [photograph.data for photograph in photographs]
        self._pixels = [to_pixels(data, self._spec)[None] for data in self._data]
        self._classify = OpenVinoClassifier(chosen)
        self._url = f"{url}/v1/predict"
        self._seconds = seconds
        self.client_share: list[float] = []

    def measure(self, way: str) -> float:
        """Images per second."""
        return self._served() if way == SERVED else images_per_second(self._work(way), self._seconds, cpu_count())

    def _work(self, way: str) -> Callable[[int], object]:
        data, pixels, size = self._data, self._pixels, len(self._data)
        return {
            DECODE: lambda number: to_pixels(data[number % size], self._spec),
            INFER: lambda number: self._classify(pixels[number % size]),
            BOTH: lambda number: self._classify(to_pixels(data[number % size], self._spec)[None]),
        }[way]

    def _served(self) -> float:
        report = load(Plan(self._url, self._seconds), self._data)
        if set(report["counts"]) != {"200"}:
            raise SystemExit(f"bench: not everything was answered: {report['counts']}")
        rate = float(report["rate"])
        self.client_share.append(rate * report["cpu_ms_per_request"] / 1000 / cpu_count())
        return rate


def measure(roofline: Roofline, rounds: int) -> dict[str, list[float]]:
    """Images per second of each way, a figure a round; one round before them does not count."""
    ways = [DECODE, INFER, BOTH, SERVED]
    found: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(-1, rounds):
        for way in turns(ways, number):
            rate = roofline.measure(way)
            if number >= 0:
                found[way].append(rate)
    roofline.client_share = roofline.client_share[-rounds:]
    return found


def expected(decode: Rounds, infer: Rounds) -> list[float]:
    """What both together should reach, from what each reaches alone."""
    return [1 / (1 / d + 1 / i) for d, i in zip(decode, infer, strict=True)]


def show(found: dict[str, list[float]], client_share: list[float], title: str) -> Table:
    """A row a way, with its share of the ceiling."""
    table = Table("", "images/s", "of both, in the same threads", title=title)
    for way, figures in found.items():
        table.add_row(way, spread(figures), spread([100 * share for share in ratios(figures, found[BOTH])], unit=" %"))
        if way == INFER:
            composite = expected(found[DECODE], found[INFER])
            shares = [100 * share for share in ratios(composite, found[BOTH])]
            table.add_row("expected of both: 1/(1/d + 1/i)", spread(composite), spread(shares, unit=" %"))
    table.caption = f"{ran_on()}; the load generator took {median(client_share):.1%} of the cores"
    return table


def main() -> None:
    """Prints one table, draws it."""
    parser = options(__doc__, "roofline")
    parser.add_argument("--images", type=int, default=COUNT, help="photographs that take turns")
    given = parser.parse_args()
    rounds, seconds, images = (1, 0.5, 4) if given.quick else (given.rounds, given.seconds, given.images)
    photographs = alike(images, given.megapixels)
    size = sum(len(photograph.data) for photograph in photographs) / len(photographs) / 1000
    with own_server(**measured(given.precision)) as (url, _):
        roofline = Roofline(photographs, given.precision, url, seconds)
        found = measure(roofline, rounds)
    title = f"ResNet-18 {given.precision}, {len(photographs)} photographs of {size:.0f} KB"
    Console(width=120).print(show(found, roofline.client_share, title))
    bars(given.png, title, "images per second", found)


if __name__ == "__main__":
    main()
