"""How a run is going: one line that changes on a terminal, a line now and then in a log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.live import Live
from rich.text import Text

from cli.console import err
from cli.live.tally import LATENCY, Tally

LINE_SECONDS = 10


@contextmanager
def telling(total: int | None) -> Iterator[Callable[[Tally], None]]:
    """What to call after each frame; `total`: the frames of a file."""
    if not err.is_terminal:
        yield _Lines(total).tell
        return
    with Live(console=err, refresh_per_second=5, transient=True) as line:
        yield lambda tally: line.update(Text(words(tally, total)))


class _Lines:
    def __init__(self, total: int | None) -> None:
        self._said = time.monotonic()
        self._total = total

    def tell(self, tally: Tally) -> None:
        if time.monotonic() - self._said >= LINE_SECONDS:
            self._said = time.monotonic()
            err.print(words(tally, self._total), markup=False, soft_wrap=True)


def words(tally: Tally, total: int | None) -> str:
    """Frames, frames a second of late, latency, drops."""
    count = f"{tally.frames:,} of {total:,} frames" if total else f"{tally.frames:,} frames"
    median = tally.ms(LATENCY)["p50"]
    latency = "" if median is None else f", {median:,.0f} ms"
    return f"{count}, {tally.fps_now:.1f} FPS{latency}, {tally.dropped:,} dropped"
