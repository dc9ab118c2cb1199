"""How far a load test is: a bar on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from cli.console import err
from cli.loadtest.fleet import Measured

LINE_SECONDS = 10


@contextmanager
def telling() -> Iterator[Callable[[Measured], None]]:
    """What to call with the figures so far, whenever there are new ones."""
    if not err.is_terminal:
        yield _Lines().tell
        return
    columns = [TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[words]}")]
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("asking", total=1.0, words="")

        def tell(measured: Measured) -> None:
            warming = time.monotonic() < measured.begin
            name = "warming up" if warming else "asking"
            bar.update(task, description=name, completed=_share(measured), words="" if warming else _words(measured))

        yield tell


class _Lines:
    def __init__(self) -> None:
        self._said = time.monotonic()

    def tell(self, measured: Measured) -> None:
        if time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            err.print(_words(measured), markup=False, soft_wrap=True)


def _share(measured: Measured) -> float:
    """How much of it is over, 0 to 1."""
    if measured.plan.seconds:
        return min(max((time.monotonic() - measured.begin) / measured.plan.seconds, 0.0), 1.0)
    return measured.tally.requests / measured.plan.requests


def _words(measured: Measured) -> str:
    tally = measured.tally
    gone = max(time.monotonic() - measured.begin, 1e-9)
    failed = f", {tally.requests - tally.good:,} failed" if tally.requests > tally.good else ""
    return f"{tally.requests:,} requests, {tally.images / gone:,.1f} inferences/s{failed}"
