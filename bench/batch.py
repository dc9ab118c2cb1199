"""A zip of photographs to predictions: ours, a plain torch loop, and Ray Data, on the same zip in the same run.

    python -m bench.batch                 2,000 photographs of 120 KB
    python -m bench.batch --images 500

Ours is the whole application as `make run` starts it, from the moment the upload is complete to the results' file:
preprocessing (Lambda, Glue on Spark), prediction, results. The others run as one program from start to end, in
.venv-peers, with torch. What starting costs is measured with a zip of one picture; images per second are told with it
and past it. The last column says how near that comes to what the cores can do: decoding and inferring in the same
threads, in process, in the same round. The application waits idle while the others are measured.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from bench.journey import application
from bench.peers.__main__ import write_folder
from bench.photographs import KILOBYTES, Photograph, samples_folder
from bench.roofline import BOTH, Roofline
from bench.servers import ROOT, measured
from bench.table import bars, options, ran_on, ratios, spread, turns
from bench.zips import make_zip
from scripts.peers_venv import INTERPRETER, ensure_peers_venv
from tests import batches
from tests.servers import Service

OURS, TORCH, RAY = "Ninefold", "torch loop", "Ray Data"
PROGRAMS = {TORCH: "torch_loop.py", RAY: "ray_data.py"}
STAGES = ("preprocessing", "prediction", "results")
PATIENCE = 1800

Seconds = dict[str, float]
"""By stage; what has no stages is "all"."""


class Ways:
    """The three ways of answering a zip."""

    def __init__(self, api: str, folder: Path, scratch: Path) -> None:
        self._service = Service(api)
        self._folder = folder
        self._scratch = scratch

    def measure(self, way: str, archive: Path) -> Seconds:
        """Seconds of each stage; the number of answers is checked."""
        out = self._scratch / "answers.jsonl"
        out.unlink(missing_ok=True)
        seconds = self._ours(archive, out) if way == OURS else self._program(way, archive, out)
        answered = sum("predictions" in json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
        with zipfile.ZipFile(archive) as opened:
            if answered != len(opened.namelist()):
                raise SystemExit(f"bench: {way} answered {answered} of {len(opened.namelist())} pictures")
        return seconds

    def _ours(self, archive: Path, out: Path) -> Seconds:
        batch = batches.upload(self._service, archive.read_bytes())
        marks = [time.monotonic()]
        batches.wait_for(self._service, batch, "ready", seconds=PATIENCE)
        marks.append(time.monotonic())
        batches.predict(self._service, batch).raise_for_status()
        batches.wait_for(self._service, batch, "done", seconds=PATIENCE)
        marks.append(time.monotonic())
        with self._service.client.stream("GET", f"/v1/batches/{batch}/results?format=jsonl") as answer:
            out.write_bytes(b"".join(answer.raise_for_status().iter_bytes()))
        marks.append(time.monotonic())
        self._service.client.delete(f"/v1/batches/{batch}").raise_for_status()
        return {stage: after - before for stage, before, after in zip(STAGES, marks, marks[1:], strict=False)}

    def _program(self, way: str, archive: Path, out: Path) -> Seconds:
        script = ROOT / "bench" / "peers" / PROGRAMS[way]
        quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_TMPDIR": str(self._scratch)}
        begun = time.monotonic()
        subprocess.run(
            [str(INTERPRETER), str(script), str(self._folder), str(archive), str(out)],
            env=os.environ | quiet,
            check=True,
            timeout=PATIENCE,
            stderr=subprocess.DEVNULL,
        )
        return {"all": time.monotonic() - begun}


def rate(whole: list[Seconds], start: list[Seconds], images: int, stage: str) -> tuple[list[float], list[float]]:
    """Images per second of a stage ("": of all), with its start and past it, a figure a round.

    Not a number where so few pictures took no longer than one.
    """

    def seconds(found: Seconds) -> float:
        return found[stage] if stage else sum(found.values())

    with_start = [images / seconds(each) for each in whole]
    more = [seconds(each) - seconds(one) for each, one in zip(whole, start, strict=True)]
    return with_start, [(images - 1) / each if each > 0 else math.nan for each in more]


def show(whole: dict[str, list[Seconds]], start: dict[str, list[Seconds]], images: int, most: list[float]) -> Table:
    """A row a way, and one for each of our stages."""
    table = Table(
        *("", "seconds", "of one picture", "images/s", "Ninefold / it", "images/s past the start", "Ninefold / it"),
        "of what the cores can do",
        title=f"{images} photographs; decoding and inferring alone: {spread(most)} images per second",
        caption=ran_on(),
    )
    ours, ours_past = rate(whole[OURS], start[OURS], images, "")
    for way, found in whole.items():
        for stage in ("", *(found[0] if way == OURS else ())):
            with_start, past = rate(found, start[way], images, stage)
            table.add_row(
                f"  {stage}" if stage else way,
                spread([each[stage] if stage else sum(each.values()) for each in found], 1),
                spread([each[stage] if stage else sum(each.values()) for each in start[way]], 1),
                spread(with_start),
                "" if way == OURS else spread(ratios(ours, with_start), 2),
                "" if stage == "results" else spread(past),
                "" if way == OURS else spread(ratios(ours_past, past), 2),
                "" if stage else spread([100 * share for share in ratios(past, most)], unit=" %"),
            )
    return table


def photographs_of(archive: Path, count: int = 64) -> list[Photograph]:
    """Its first pictures."""
    with zipfile.ZipFile(archive) as opened:
        return [Photograph(name, opened.read(name), None) for name in opened.namelist()[:count]]


class Found:
    """What was measured, a figure a round: seconds by way, and what the cores can do in images per second."""

    def __init__(self, names: list[str]) -> None:
        self.whole: dict[str, list[Seconds]] = {name: [] for name in names}
        self.start: dict[str, list[Seconds]] = {name: [] for name in names}
        self.most: list[float] = []

    def measure(self, folder: Path, images: int, rounds: int, ceiling_of: Callable[[Path], Roofline]) -> None:
        """All rounds, on a zip of so many pictures and on one of one."""
        with TemporaryDirectory(prefix="bench-") as scratch:
            many, one = Path(scratch) / "photos.zip", Path(scratch) / "one.zip"
            for path, count in ((many, images), (one, 1)):
                make_zip(path, samples_folder(), count, count * KILOBYTES / 1000)
            ceiling = ceiling_of(many)
            with application() as (api, _, _):
                ways = Ways(api, folder, Path(scratch))
                for number in range(rounds):
                    self.most.append(ceiling.measure(BOTH))
                    for way in turns(list(self.whole), number):
                        self.start[way].append(ways.measure(way, one))
                        self.whole[way].append(ways.measure(way, many))


def main() -> None:
    """Prints one table, draws it."""
    parser = options(__doc__, "batch", rounds=3)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--only", nargs="*", choices=list(PROGRAMS), default=list(PROGRAMS), help="beside ours")
    given = parser.parse_args()
    rounds, images = (1, 40) if given.quick else (given.rounds, given.images)
    os.environ.update(measured(given.precision))
    ensure_peers_venv()
    folder = ROOT / "build" / "bench" / "peers"
    write_folder(folder, given.precision)
    found = Found([OURS, *given.only])
    seconds = 1.0 if given.quick else given.seconds
    found.measure(folder, images, rounds, lambda zipped: Roofline(photographs_of(zipped), given.precision, "", seconds))
    Console(width=170).print(show(found.whole, found.start, images, found.most))
    title = f"{images} photographs; what the cores can do in {given.precision}: {statistics.median(found.most):.0f}/s"
    past = {name: rate(found.whole[name], found.start[name], images, "")[1] for name in found.whole}
    bars(given.png, title, "images per second past the start", past)


if __name__ == "__main__":
    main()
