"""How far an evaluation is: a bar with the time left on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.console import err, printable

LINE_SECONDS = 10

Begin = Callable[[str, int, int], Callable[[int], None]]
"""Told what begins, of how many steps, and how many are done; gives what to call with the number of further ones."""


@contextmanager
def telling() -> Iterator[Begin]:
    """What to tell the progress to while the block runs."""
    if not err.is_terminal:
        yield _lines
        return
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()]
    with Progress(*columns, console=err, transient=True) as bars:

        def begin(what: str, total: int, done: int) -> Callable[[int], None]:
            task = bars.add_task(printable(what), total=total, completed=done)
            return lambda more: bars.advance(task, more)

        yield begin


def _lines(what: str, total: int, done: int) -> Callable[[int], None]:
    said = time.monotonic()
    err.print(f"{printable(what)}: {done:,} of {total:,}", markup=False, soft_wrap=True)

    def tell(more: int) -> None:
        nonlocal done, said
        done += more
        if done >= total or time.monotonic() - said >= LINE_SECONDS:
            said = time.monotonic()
            err.print(f"{printable(what)}: {done:,} of {total:,}", markup=False, soft_wrap=True)

    return tell
