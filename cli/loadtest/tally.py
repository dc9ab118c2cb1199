"""What was measured: counts that add up over threads and processes, and latencies whose quantiles do as well."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import ceil

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
    moment of the last end. By the second of their end, counted from the beginning, `answered` and `failed`: requests;
    `peaks`: the longest latency of the good ones. `variants`: good requests by the model and precision that answered.
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
    variants: Counter[str] = field(default_factory=Counter)
    peaks: dict[int, float] = field(default_factory=dict)
    latency: DDSketch = field(default_factory=_sketch)

    def answer(self, variant: str, latency: float, second: int) -> None:
        """A good request; its latency in seconds."""
        self.good += 1
        self.answered[second] += 1
        self.variants[variant] += 1
        self.latency.add(latency)
        self.slowest = max(self.slowest, latency)
        self.peaks[second] = max(self.peaks.get(second, 0.0), latency)

    def fail(self, problem: str, second: int) -> None:
        """Another."""
        self.errors[problem] += 1
        self.failed[second] += 1

    def add(self, other: Tally) -> None:
        """What another has measured as well."""
        for name in ("requests", "good", "images", "late", "sent", "received", "cpu_seconds"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ended = max(self.ended, other.ended)
        self.slowest = max(self.slowest, other.slowest)
        for name in ("errors", "rows", "answered", "failed", "variants"):
            getattr(self, name).update(getattr(other, name))
        for second, latency in other.peaks.items():
            self.peaks[second] = max(self.peaks.get(second, 0.0), latency)
        self.latency.merge(other.latency)

    def quantile_ms(self, share: float) -> float | None:
        """The latency that this share of the good requests did not pass, in milliseconds; None without any.

        It is one that was seen: of ten requests the tenth is p99, as it is their maximum.
        """
        rank = max(ceil(round(share * self.good, 6)), 1) - 1
        value = self.latency.get_quantile_value(min((rank + 0.5) / max(self.good - 1, 1), 1.0))
        return None if value is None else 1000 * min(float(value), self.slowest)
