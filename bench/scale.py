"""predict.py on a standalone Spark cluster, by its number of workers; what a driver holds; and what a million costs.

    python -m bench.scale                             one and two workers of one core each, taking turns
    python -m bench.scale --workers 1 2 4 --images 2000 --png docs/images/scale.png
    python -m bench.scale --listing 1000000           the driver's part of a prefix so large: seconds and memory
    python -m bench.scale --costs --rate 40           the table of docs/scale.md, from images a second on a core
    python -m bench.scale --preprocessing             where the processors' time goes in one run of preprocess.py

Spark, its workers, the Python of each and the stand-in for S3 share this machine's cores: with as many workers as cores
the figure is less than twice as many cores elsewhere would give. NINEFOLD_SAMPLES names the photographs' folder.
"""

from __future__ import annotations

import argparse
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from bench.table import ran_on, spread, turns
from bench.zips import make_zip
from glue_jobs.listing import PART_ENTRIES, Listing
from glue_jobs.reports import peak_rss_mb
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.devices import cpu_count
from tests.glue_jobs.sparks import Cluster, Spark, cluster
from tests.localcloud.clouds import Cloud, cloud

ROOT = Path(__file__).resolve().parent.parent
MODEL, BUCKET, ZIP = "resnet18-seeded", "scale", "photos.zip"
MEGABYTES_AN_IMAGE = 0.12
_PAGE = 1000
_JAVA = "-XX:+UseSerialGC -Xshare:auto"


@dataclass
class Figures:
    """Of one number of workers: images a second in each round."""

    tasks: list[float] = field(default_factory=list)
    """From the first task's start to the last one's end."""
    whole: list[float] = field(default_factory=list)
    """From the call of spark-submit to its end."""
    a_core: list[float] = field(default_factory=list)
    """For each second of a processor that the tasks used: what other work on this machine hardly changes."""

    def add(self, summary: Mapping[str, Any], seconds: float) -> None:
        """One run."""
        images = summary["images"]
        self.tasks.append(summary["images_per_second"])
        self.whole.append(images / seconds)
        self.a_core.append(images / summary["task_seconds"]["cpu"])


def measure(given: argparse.Namespace, artefact: Artefact) -> dict[int, Figures]:
    """Rounds of all numbers of workers, each number first as often as the others."""
    found = {workers: Figures() for workers in given.workers}
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, cloud(empty=True) as storage:
        home, code, archive = (Path(scratch) / name for name in ("home", "code", ZIP))
        home.mkdir()
        make_zip(archive, samples_folder(), given.images, given.images * MEGABYTES_AN_IMAGE)
        etag = upload(storage, archive, artefact)
        spark = Spark.found(home, code, _JAVA)
        with cluster(spark, max(given.workers), storage.env) as running:
            for number in range(given.rounds):
                for workers in turns([str(count) for count in given.workers], number):
                    begun = time.perf_counter()
                    summary = run(running, storage, etag, f"out/{workers}-{number}/", workers)
                    found[int(workers)].add(summary, time.perf_counter() - begun)
    return found


def upload(storage: Cloud, archive: Path, artefact: Artefact) -> str:
    """The photographs and the model; the zip's etag."""
    storage.s3.create_bucket(Bucket=BUCKET)
    for path in artefact.folder.iterdir():
        storage.s3.upload_file(str(path), BUCKET, f"model/{path.name}")
    storage.s3.upload_file(str(archive), BUCKET, ZIP)
    return str(storage.s3.head_object(Bucket=BUCKET, Key=ZIP)["ETag"]).strip('"')


def run(on: Cluster, storage: Cloud, etag: str, output: str, workers: str) -> dict[str, Any]:
    """One run's summary; everything is made anew."""
    given = {"bucket": BUCKET, "model-dir": "model/", "output": output, "key": ZIP, "etag": etag}
    words = [word for name, value in given.items() for word in (f"--{name}", value)]
    summary = on.spark.start("predict.py", words, storage.env, on.url, cores_max=workers).summary()
    if len(summary["peak_rss_mb"]["workers"]) != int(workers) or summary["parts"]["kept"]:
        sys.exit(f"bench: not {workers} workers from the start: {summary}")
    return summary


def the_model(precision: str | None) -> Artefact:
    """The one asked for; else int8 where it was built, else fp32, which is built if need be."""
    store = ArtefactStore(ROOT / "models")
    wanted = (precision,) if precision else ("int8", "fp32")
    for _ in range(2):
        for each in wanted:
            if found := store.get(Variant(MODEL, each)):
                return found
        subprocess.run([sys.executable, "-m", "cli.main", "models", "build", MODEL], cwd=ROOT, check=True)
    sys.exit(f"bench: {MODEL} could not be built in {' or '.join(wanted)}")


def show(found: Mapping[int, Figures], given: argparse.Namespace, artefact: Artefact) -> None:
    """One table: medians over the rounds, from the least to the most."""
    title = f"{artefact.variant}, {given.images} photographs of {MEGABYTES_AN_IMAGE * 1000:.0f} KB in a zip"
    table = Table(
        "workers",
        "images/s, tasks alone",
        "to the least",
        "with Spark's start",
        "images a processor-second",
        title=title,
    )
    least = found[min(found)]
    for workers, figures in found.items():
        ratio = statistics.median(a / b for a, b in zip(figures.tasks, least.tasks, strict=True))
        first, *rest = (spread(rates, 1) for rates in (figures.tasks, figures.whole, figures.a_core))
        table.add_row(str(workers), first, f"{ratio:.2f}×", *rest)
    console = Console(width=120)
    console.print(table)
    console.print(f"medians of {given.rounds} rounds (least–most); {ran_on()}")


def draw(path: Path, found: Mapping[int, Figures], artefact: Artefact) -> None:
    """Images a second by workers, and what as many times the least would be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    workers = sorted(found)
    for name, rates in (
        ("tasks alone", [found[count].tasks for count in workers]),
        ("with Spark's start", [found[count].whole for count in workers]),
    ):
        middle = [statistics.median(each) for each in rates]
        low = [median - min(each) for median, each in zip(middle, rates, strict=True)]
        high = [max(each) - median for median, each in zip(middle, rates, strict=True)]
        axes.errorbar(workers, middle, yerr=(low, high), marker="o", capsize=4, label=name)
    one = statistics.median(found[workers[0]].tasks) / workers[0]
    axes.plot(workers, [one * count for count in workers], "--", color="#999999", label="in proportion")
    axes.set(xlabel=f"workers of one core, {cpu_count()} cores in all", ylabel="images per second", ylim=(0, None))
    axes.set(title=f"predict.py on a Spark cluster, {artefact.variant}", xticks=workers)
    axes.legend()
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def preprocessing(given: argparse.Namespace) -> None:
    """Prints the processor's seconds in one run of preprocess.py under local Spark, by who used them."""
    samples = samples_folder()
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch, cloud(empty=True) as storage:
        home, code, archive = (Path(scratch) / name for name in ("home", "code", ZIP))
        home.mkdir()
        size = make_zip(archive, samples, given.images, given.images * MEGABYTES_AN_IMAGE)
        storage.s3.create_bucket(Bucket=BUCKET)
        storage.s3.upload_file(str(archive), BUCKET, key := f"uploads/bench/{ZIP}")
        etag = storage.s3.head_object(Bucket=BUCKET, Key=key)["ETag"]
        words = ["--bucket", BUCKET, "--key", key, "--etag", etag]
        spark, s3 = Spark.found(home, code, given.java), psutil.Process(storage.process.pid)
        before = s3.cpu_times()
        started = spark.start("preprocess.py", words, storage.env, f"local[{cpu_count()}]")
        used = _processor_seconds(started.process)
        summary, after = started.summary(), s3.cpu_times()
    tasks = summary["task_seconds"]["cpu"]
    rows = {
        "tasks: to pixels, shards, S3": tasks,
        "Python around the tasks": used["workers"] - tasks,
        "Spark's JVM": used["java"],
        "the driver": used["driver"],
        "the stand-in for S3": after.user + after.system - before.user - before.system,
    }
    table = Table("processor seconds of", "s", "ms an image", title=f"{given.images} photographs, {size / 1e6:.0f} MB")
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds:.1f}", f"{1000 * seconds / given.images:.1f}")
    console = Console(width=120)
    console.print(table)
    console.print(f"stages, in seconds of the clock: {summary['seconds']}; {ran_on()}")


def _processor_seconds(root: subprocess.Popen[str]) -> dict[str, float]:
    """Of the run's processes until it ends, by kind; looked at four times a second."""
    seen: dict[int, tuple[str, float]] = {}
    while root.poll() is None:
        with suppress(psutil.Error):
            for process in (psutil.Process(root.pid), *psutil.Process(root.pid).children(recursive=True)):
                with suppress(psutil.Error):
                    words, times = process.cmdline(), process.cpu_times()
                    kind = "java" if process.name() == "java" else "workers" if "pyspark.daemon" in words else "driver"
                    seen[process.pid] = (kind, times.user + times.system)
        time.sleep(0.25)
    used = dict.fromkeys(("java", "workers", "driver"), 0.0)
    for kind, seconds in seen.values():
        used[kind] += seconds
    return used


def samples_folder() -> Path:
    """The photographs."""
    named = os.environ.get("NINEFOLD_SAMPLES")
    return Path(named or sys.exit("bench: NINEFOLD_SAMPLES must name a folder of photographs"))


class _ManyKeys:
    """S3's listing as far as `Listing.parts` uses it, of as many keys as are wanted."""

    def __init__(self, keys: int) -> None:
        self._keys = keys

    def get_paginator(self, _: str) -> _ManyKeys:
        return self

    def paginate(self, **_: str) -> Iterator[dict[str, Any]]:
        for first in range(0, self._keys, _PAGE):
            numbers = range(first, min(first + _PAGE, self._keys))
            yield {"Contents": [self._item(number) for number in numbers]}

    @staticmethod
    def _item(number: int) -> dict[str, Any]:
        size = int(MEGABYTES_AN_IMAGE * 1e6)
        return {"Key": f"photos/{number // 5000:06d}/{number:09d}.jpg", "ETag": f'"{number:032x}"', "Size": size}


def driver(keys: int) -> None:
    """Prints what the driver does and holds for a listing so long; S3's own time is not in it."""
    before, begun = peak_rss_mb(), time.process_time()
    fake: Any = _ManyKeys(keys)
    parts = list(Listing(fake, BUCKET, "photos/").parts())
    seconds, held = time.process_time() - begun, peak_rss_mb() - before
    sent = len(pickle.dumps(parts))
    Console(width=120).print(
        f"{keys:,} keys: {-(-keys // _PAGE):,} requests, {len(parts):,} tasks; the driver's processor {seconds:.1f} s, "
        f"its memory {held:.0f} MB more, {sent / len(parts):.0f} bytes sent a task; {ran_on()}"
    )


def costs(given: argparse.Namespace) -> None:
    """Prints what a million and a hundred million images take, by the prices and the rate that were given."""
    title = f"{given.rate:g} images/s on a core, {given.cores} cores; ${given.dpu_hour:g} a DPU-hour (4 cores)"
    table = Table("images", "core-hours", "hours", "Glue", "EC2", "S3 requests, as a prefix", title=title)
    for images in (10**6, 10**8):
        core_hours = images / given.rate / 3600
        hours = max(core_hours / given.cores + given.start_seconds / 3600, 1 / 60)
        glue = hours * (given.cores / 4 + 1) * given.dpu_hour  # one worker more is Glue's driver
        ec2 = f"${hours * given.cores * given.core_hour:,.2f}" if given.core_hour else "–"
        # A picture is read; a part is looked for, listed and put; the driver lists all.
        gets, puts = images * (1 + 1 / PART_ENTRIES), images * (2 / PART_ENTRIES + 1 / _PAGE)
        requests = (gets * given.get_per_1000 + puts * given.put_per_1000) / 1000
        cells = (f"{images:,}", f"{core_hours:,.1f}", f"{hours:,.2f}", f"${glue:,.2f}", ec2, f"${requests:,.2f}")
        table.add_row(*cells)
    Console(width=120).print(table)


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=sorted({1, cpu_count()}))
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("int8", "fp32"), help="int8 where it was built, else fp32")
    parser.add_argument("--png", type=Path, default=Path("build/bench/scale.png"))
    parser.add_argument("--listing", type=int, metavar="KEYS")
    parser.add_argument("--preprocessing", action="store_true")
    parser.add_argument("--java", default="", help="options of the JVM, with --preprocessing")
    parser.add_argument("--costs", action="store_true")
    parser.add_argument("--rate", type=float, help="images a second on a core, as measured here")
    parser.add_argument("--cores", type=int, default=64, help="that work on it")
    parser.add_argument("--start-seconds", type=float, default=60, help="until they work, paid for")
    parser.add_argument("--dpu-hour", type=float, default=0.44, help="dollars, Glue")
    parser.add_argument("--core-hour", type=float, default=0, help="dollars, EC2, without a default: look it up")
    parser.add_argument("--get-per-1000", type=float, default=0.0004, help="dollars, S3's GET")
    parser.add_argument("--put-per-1000", type=float, default=0.005, help="dollars, S3's PUT and LIST")
    given = parser.parse_args(argv)
    if given.costs and not given.rate:
        parser.error("--costs needs --rate, a figure that this command measured: images a processor-second")
    return given


def main(argv: Sequence[str] | None = None) -> None:
    """Measures, or counts."""
    given = read_options(argv)
    if given.costs:
        costs(given)
    elif given.preprocessing:
        preprocessing(given)
    elif given.listing:
        driver(given.listing)
    else:
        artefact = the_model(given.precision)
        found = measure(given, artefact)
        show(found, given, artefact)
        draw(given.png, found, artefact)


if __name__ == "__main__":
    main()
