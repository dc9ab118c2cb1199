"""What a run did: frames, drops, what was seen, and how long each stage took; for people and for programs."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ddsketch import DDSketch
from rich.table import Table
from rich.text import Text

from cli.live.looking import Thing

__all__ = ["STAGES", "Tally", "figures", "table"]

STAGES = ("read", "wait", "filter", "pixels", "detect", "classify", "track", "draw", "write", "show")
"""In the order in which a frame passes them; a run has some of them."""
LATENCY = "latency"
ACCURACY = 0.001
"""Of a quantile, relative."""
QUANTILES = {"p50": 0.5, "p95": 0.95}
MOST_NAMED = 5
_RECENT = 30


@dataclass
class Tally:
    """`frames`: answered and shown. `dropped`: gave way to newer ones. `seen`: by label, the frames with it.

    `stopped`: it was asked to end before its time; `hurried`: once more, so that frames at work are not waited for.
    """

    begun: float = field(default_factory=time.perf_counter)
    ended: float | None = None
    frames: int = 0
    dropped: int = 0
    stopped: bool = False
    hurried: bool = False
    seen: Counter[str] = field(default_factory=Counter)
    latency: dict[str, DDSketch] = field(default_factory=dict)
    _recent: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))

    def add(self, seconds: Mapping[str, float], latency: float, things: Sequence[Thing]) -> None:
        """One frame that was shown, `latency` seconds after it had been read."""
        self.frames += 1
        self._recent.append(time.perf_counter())
        for stage, taken in [*seconds.items(), (LATENCY, latency)]:
            self.latency.setdefault(stage, DDSketch(relative_accuracy=ACCURACY)).add(taken)
        whole = bool(things) and things[0].box is None
        self.seen.update({thing.label for thing in (things[:1] if whole else things)})

    def end(self) -> None:
        """The time is over."""
        self.ended = time.perf_counter()

    @property
    def elapsed(self) -> float:
        """Seconds from the beginning to the end, or to now."""
        return (self.ended or time.perf_counter()) - self.begun

    @property
    def fps(self) -> float:
        """Frames a second, over all of the run."""
        return self.frames / self.elapsed if self.frames else 0.0

    @property
    def fps_now(self) -> float:
        """Over the last frames."""
        if len(self._recent) < 2:
            return self.fps
        return (len(self._recent) - 1) / max(self._recent[-1] - self._recent[0], 1e-9)

    def ms(self, stage: str) -> dict[str, float | None]:
        """Median and 95th percentile, in milliseconds; None where there was nothing to measure."""
        sketch = self.latency.get(stage)
        found = {name: sketch.get_quantile_value(share) if sketch else None for name, share in QUANTILES.items()}
        return {name: None if value is None else 1000 * value for name, value in found.items()}


def figures(tally: Tally, about: Mapping[str, Any]) -> dict[str, Any]:
    """All of it, for JSON; `about`: what ran, on what."""
    return {
        **about,
        "frames": tally.frames,
        "dropped": tally.dropped,
        "seconds": tally.elapsed,
        "fps": tally.fps,
        "stopped": tally.stopped,
        "latency_ms": tally.ms(LATENCY),
        "stages_ms": {stage: tally.ms(stage) for stage in STAGES if stage in tally.latency},
        "seen": dict(tally.seen.most_common(MOST_NAMED)),
    }


def table(found: Mapping[str, Any]) -> Table:
    """The figures for people."""
    made = Table("", "median", "p95")
    for column in made.columns[1:]:
        column.justify = "right"
    for stage, quantiles in [*found["stages_ms"].items(), ("from read to shown", found["latency_ms"])]:
        made.add_row(stage, *(_ms(value) for value in quantiles.values()))
    made.add_section()
    made.add_row("frames, dropped", f"{found['frames']:,}", f"{found['dropped']:,}")
    made.add_row("seconds, FPS", f"{found['seconds']:,.1f}", f"{found['fps']:,.1f}")
    for label, count in found["seen"].items():
        made.add_row(Text(f"frames with {label}"), f"{count:,}", "")
    return made


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f} ms"
