"""What was measured: counts that add up over threads and processes, and latencies whose quantiles do as well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ddsketch import DDSketch

ACCURACY = 0.001
"""Of a quantile, relative: 10 ms is 9.99 to 10.01."""
LATE_SECONDS = 0.01


def _sketch() -> DDSketch:
    return DDSketch(relative_accuracy=ACCURACY)


@dataclass
class Tally:
    """`latency` and `slowest` in seconds, of good requests: answered as they should be, every row ok.

    `images`: rows that are ok. `errors`: requests by kind; `rows`: bad rows by code. `sent`, `received`: bytes of
    bodies. `late`: requests sent more than 10 ms after they were due, for want of a free connection. `ended`: the
    moment of the last end. `answered`, `failed`: requests by the second of their end, counted from the beginning.
    """

    requests: int = 0
    good: int = 0
    images: int = 0
    late: int = 0
    sent: int = 0
    received: int = 0
    ended: float = 0.0
    slowest: float = 0.0
    cpu_seconds: float = 0.0
    errors: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    answered: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    latency: DDSketch = field(default_factory=_sketch)

    def add(self, other: Tally) -> None:
        """What another has measured as well."""
        for name in ("requests", "good", "images", "late", "sent", "received", "cpu_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ended = max(self.ended, other.ended)
        self.slowest = max(self.slowest, other.slowest)
        self.errors.update(other.errors)
        self.rows.update(other.rows)
        self.answered.update(other.answered)
        self.failed.update(other.failed)
        self.latency.merge(other.latency)

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the good requests did not pass, in milliseconds."""
        value = self.latency.get_quantile_value(share)
        return None if value is None else 1000 * float(value)
