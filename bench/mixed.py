"""What a batch costs the people who send single pictures, and what they cost the batch.

    python -m bench.mixed

Interactive pictures come by schedule at a tenth of the server's closed-loop peak, with nothing else to do and while a
batch is predicted; a batch is predicted alone and while they come. The batch's pixels were prepared before. Everything
is real but S3, which is the stand-in on the same cores.
"""

from __future__ import annotations

import itertools
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console
from rich.table import Table

from bench.client import Plan, load
from bench.photographs import COUNT, alike, samples_folder
from bench.servers import measured, own_server
from bench.table import bars, options, ran_on, ratios, spread, turns
from bench.zips import make_zip
from tests import batches
from tests.localcloud.clouds import BUCKET, JOB, Cloud

IDLE, DURING, ALONE = "pictures alone", "both", "batch alone"
SHARE = 0.1
START_SECONDS = 60.0
KILOBYTES = 4  # an entry: its pixels count, and they are made before


class Mixed:
    """The server, the stand-in for S3, and figures by what was measured, one a round."""

    def __init__(self, cloud: Cloud, url: str, data: list[bytes], seconds: float) -> None:
        self._cloud = cloud
        self._http = httpx.Client(base_url=url, timeout=60, trust_env=False)
        self._url = f"{url}/v1/predict"
        self._data = data
        self._seconds = seconds
        self._numbers = itertools.count()
        load(Plan(self._url, 1), data)  # warm-up
        self.peak = float(load(Plan(self._url, seconds), data)["rate"])
        self._zip = self._archive(self._enough(3 * self.peak))
        alone = self._batch(pictures=False)
        self._zip = self._archive(self._enough(1.5 * alone))
        rates = [f"{way}: images/s" for way in (ALONE, DURING)]
        latencies = [f"{way}: {share}" for way in (IDLE, DURING) for share in ("p50", "p95")]
        self.figures: dict[str, list[float]] = {name: [] for name in (*rates, *latencies)}

    def measure(self, way: str) -> None:
        """One of the three, for its seconds."""
        if way == IDLE:
            self._ask(IDLE)
        else:
            self.figures[f"{way}: images/s"].append(self._batch(pictures=way == DURING))

    def _enough(self, rate: float) -> int:
        return int(rate * (self._seconds + 3)) + 256

    def _archive(self, images: int) -> bytes:
        with TemporaryDirectory(prefix="bench-") as folder:
            path = Path(folder) / "photos.zip"
            make_zip(path, samples_folder(), images, images * KILOBYTES / 1000)
            return path.read_bytes()

    def _ask(self, way: str) -> None:
        report = load(Plan(self._url, self._seconds, rate=SHARE * self.peak), self._data)
        if set(report["counts"]) != {"200"}:
            raise SystemExit(f"bench: not every picture was answered: {report['counts']}")
        for share in ("p50", "p95"):
            self.figures[f"{way}: {share}"].append(report["latency_ms"][share])

    def _batch(self, pictures: bool) -> float:
        """Images per second of a batch within the measured seconds; it is deleted before it ends."""
        batch = f"mixed-{next(self._numbers)}"
        batches.drop_in(self._cloud, batch, self._zip)
        batches.preprocess(self._cloud, batch)
        before = self._bulk()
        self._http.post(f"/v1/batches/{batch}/predict", json={}).raise_for_status()
        deadline = time.monotonic() + START_SECONDS
        while self._bulk() == before:
            if time.monotonic() > deadline:
                raise SystemExit("bench: the prediction of the batch did not begin")
            time.sleep(0.05)
        first, begun = self._bulk(), time.monotonic()
        if pictures:
            self._ask(DURING)
        else:
            time.sleep(self._seconds)
        rate = (self._bulk() - first) / (time.monotonic() - begun)
        if self._http.get(f"/v1/batches/{batch}").raise_for_status().json()["state"] != "predicting":
            raise SystemExit("bench: the batch was over before its time: fewer seconds, or a slower model")
        self._http.delete(f"/v1/batches/{batch}").raise_for_status()
        return rate

    def _bulk(self) -> float:
        """Images of batches that were inferred so far: all but those that came as single pictures."""
        text = self._http.get("/metrics").raise_for_status().text
        values = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
        every = sum(sample.value for sample in values if sample.name == "ninefold_batch_images_sum")
        single = sum(s.value for s in values if s.name == "ninefold_images_total" and s.labels["outcome"] == "ok")
        return every - single


def show(figures: dict[str, list[float]], peak: float) -> Table:
    """What each side has alone, with the other, and the ratio."""
    title = f"{SHARE * peak:.1f} pictures per second ({SHARE:.0%} of the peak, {peak:.0f}) and a batch"
    table = Table("", "alone", "with the other", "ratio", title=title, caption=ran_on())
    for share in ("p50", "p95"):
        alone, both = figures[f"{IDLE}: {share}"], figures[f"{DURING}: {share}"]
        table.add_row(f"a picture's {share}, ms", spread(alone), spread(both), spread(ratios(both, alone), 2))
    alone, both = figures[f"{ALONE}: images/s"], figures[f"{DURING}: images/s"]
    table.add_row("the batch's images/s", spread(alone), spread(both), spread(ratios(both, alone), 2))
    return table


def main() -> None:
    """Prints one table, draws it."""
    given = options(__doc__, "mixed").parse_args()
    rounds, seconds = (1, 1.0) if given.quick else (given.rounds, given.seconds)
    data = [photograph.data for photograph in alike(COUNT, given.megapixels)]
    with batches.storage() as cloud:
        where = {"NINEFOLD_BUCKET": BUCKET, "NINEFOLD_S3_ENDPOINT": cloud.url, "NINEFOLD_GLUE_JOB": JOB}
        with own_server(**cloud.env, **where, **measured(given.precision)) as (url, _):
            mixed = Mixed(cloud, url, data, seconds)
            for number in range(rounds):
                for way in turns([IDLE, DURING, ALONE], number):
                    mixed.measure(way)
    Console(width=110).print(show(mixed.figures, mixed.peak))
    latencies = {name: figures for name, figures in mixed.figures.items() if "images/s" not in name}
    picture = (
        f"a picture's latency; with a batch of {statistics.median(mixed.figures[f'{DURING}: images/s']):.0f} images/s"
    )
    bars(given.png, picture, "milliseconds", latencies)


if __name__ == "__main__":
    main()
