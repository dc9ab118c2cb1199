"""How far a batch is: bars on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cli.console import err, printable

__all__ = ["PREDICTING", "PREPROCESSING", "UPLOADING", "Bars", "Lines", "Report", "Tally", "reporter"]

UPLOADING, PREPROCESSING, PREDICTING = "uploading", "preprocessing", "predicting"
STAGES = (UPLOADING, PREPROCESSING, PREDICTING)
LINE_SECONDS = 10


class Report(Protocol):
    """What is told about the way. Counts are of one parcel; uploads count bytes, the others entries."""

    def reached(self, stage: str, parcel: int, done: float, detail: str = "") -> None:
        """So much of the parcel has passed the stage."""
        ...

    def say(self, text: str) -> None:
        """A line of its own."""
        ...


class Tally:
    """Adds up the parcels."""

    def __init__(self, totals: dict[str, float]) -> None:
        self.totals = totals
        self._done: dict[str, dict[int, float]] = {stage: {} for stage in STAGES}

    def note(self, stage: str, parcel: int, done: float) -> float:
        """So much of this parcel; returns how much of all."""
        self._done[stage][parcel] = done
        return min(sum(self._done[stage].values()), self.totals[stage])

    def words(self, stage: str, done: float) -> str:
        """`3 of 12`, with units."""
        if stage == UPLOADING:
            return f"{done / 1e6:,.0f} of {self.totals[stage] / 1e6:,.0f} MB"
        return f"{done:,.0f} of {self.totals[stage]:,.0f}"


class Bars:
    """For people: a bar a stage, with counts and the time left."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        columns = [TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[words]}")]
        self.progress = Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[detail]}"), console=err)
        self._tasks: dict[str, TaskID] = {
            stage: self.progress.add_task(stage, total=tally.totals[stage], start=False, words="", detail="")
            for stage in STAGES
        }

    def reached(self, stage: str, parcel: int, done: float, detail: str = "") -> None:
        """Moves the bar."""
        total = self._tally.note(stage, parcel, done)
        if total:
            self.progress.start_task(self._tasks[stage])
        words = self._tally.words(stage, total)
        self.progress.update(self._tasks[stage], completed=total, words=words, detail=printable(detail))

    def say(self, text: str) -> None:
        """Above the bars."""
        self.progress.console.print(printable(text), markup=False, soft_wrap=True)


class Lines:
    """For logs: a line when a stage begins and ends, and every ten seconds."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._said: dict[str, tuple[str, float]] = {}

    def reached(self, stage: str, parcel: int, done: float, detail: str = "") -> None:
        """Says so, unless it has just said much the same."""
        total = self._tally.note(stage, parcel, done)
        words = self._tally.words(stage, total) + (f" ({detail})" if detail else "")
        before, when = self._said.get(stage, ("", float("-inf")))
        over = total >= self._tally.totals[stage]
        if words != before and (over or time.monotonic() - when >= LINE_SECONDS):
            self._said[stage] = (words, time.monotonic())
            self.say(f"{stage}: {words}")

    def say(self, text: str) -> None:
        """A line."""
        err.print(printable(text), markup=False, soft_wrap=True)


def reporter(tally: Tally) -> tuple[Report, AbstractContextManager[object]]:
    """What fits standard error, and what to enter while it is used."""
    if err.is_terminal:
        bars = Bars(tally)
        return bars, bars.progress
    return Lines(tally), nullcontext()
