"""What every run has: its arguments, a stopwatch, one Spark task for each piece of work, a summary, and last words.

The last line of a failed run says why, in words: Glue shows it as the run's ErrorMessage.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NoReturn, TypeVar
from zipimport import zipimporter

from contract.shards import Counts
from glue_jobs.reports import Report, peak_rss_mb

W = TypeVar("W")


class JobFailed(Exception):
    """Ends the run as failed; the message is one line, for a person."""


class Arguments(argparse.ArgumentParser):
    """argparse would end the process with a number for its last word: this one raises JobFailed."""

    def error(self, message: str) -> NoReturn:
        """Raises JobFailed."""
        raise JobFailed(f"The run was started with wrong arguments: {message}")


class Stopwatch:
    """How long each stage took, in seconds."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measures what happens within."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - begun, 3)

    def total(self) -> float:
        """Since the start."""
        return round(time.perf_counter() - self._begun, 3)


def perform_all(
    name: str, perform: Callable[[W], Report], works: Sequence[W], watch: Stopwatch, failed: str
) -> list[Report]:
    """One task for each work, on the Spark application `name`; without any, Spark is not even started.

    Raises JobFailed: `failed` and the last words of the task that failed for good, or why one stopped.
    """
    if not works:
        return []
    from pyspark.sql import SparkSession  # noqa: PLC0415  # only where Spark is

    with watch.stage("start_spark"):
        session = SparkSession.builder.appName(name).getOrCreate()
    try:
        session.sparkContext.setLogLevel("WARN")
        with watch.stage("tasks"):
            tasks = session.sparkContext.parallelize(works, len(works))
            reports: list[Report] = tasks.map(partial(_in_worker, perform)).collect()
    except Exception as error:
        raise JobFailed(f"{failed} {cause(str(error))}") from error
    finally:
        session.stop()
    for report in reports:
        if report.stopped:
            raise JobFailed(report.stopped)
    return reports


def _in_worker(perform: Callable[[W], Report], work: W) -> Report:
    try:
        return perform(work)
    finally:
        forget_zips()


def forget_zips() -> None:
    """Of modules in zips, Python keeps a finder for each folder; the next import makes one anew, of what is known.

    Before each task Spark has every finder read its zip's directory anew, and that of pyspark.zip is long.
    """
    for path, finder in list(sys.path_importer_cache.items()):
        if isinstance(finder, zipimporter):
            del sys.path_importer_cache[path]


def cause(text: str) -> str:
    """What a task's own Python said last; Spark wraps it into pages of its own."""
    traces = re.findall(r"Traceback \(most recent call last\):\n(.*?)(?:\n\s*\n|\n\tat |\Z)", text, re.DOTALL)
    lines = (traces[0] if traces else text).strip().splitlines() or ["Spark gave no reason."]
    return (lines[-1] if traces else lines[0]).strip()[:500]


def summary(counts: Counts, made: Sequence[Report], watch: Stopwatch) -> dict[str, Any]:
    """One line for the log, from which measurements are read: times in seconds, memory in MB. `made`: not the kept."""
    images = sum(report.counts.images for report in made)
    workers: dict[str, float] = {}
    task_seconds: dict[str, float] = {}
    for report in made:
        workers[report.worker] = max(report.peak_rss_mb, workers.get(report.worker, 0))
        for stage, seconds in report.seconds.items():
            task_seconds[stage] = task_seconds.get(stage, 0) + seconds
    return {
        "event": "done",
        "entries": counts.entries,
        "images": counts.images,
        "errors": counts.errors,
        "skipped": counts.skipped,
        "seconds": watch.seconds | {"total": watch.total()},
        "task_seconds": {stage: round(seconds, 3) for stage, seconds in task_seconds.items()},
        "read_bytes": sum(report.read_bytes for report in made),
        "images_per_second": round(images / watch.seconds["tasks"], 1) if images else 0,
        "peak_rss_mb": {
            "driver": round(peak_rss_mb()),
            "workers": {worker: round(peak) for worker, peak in sorted(workers.items())},
        },
    }
