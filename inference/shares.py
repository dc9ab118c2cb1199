"""A share of pictures, and how far it may be off: one rule for cards, evaluations and measurements."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["Share", "share_of"]

_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Share:
    """A share of pictures, from 0 to 1, and Wilson's interval of it at 95 %."""

    share: float
    low: float
    high: float


def share_of(hits: int, of: int) -> Share:
    """So many of so many. Raises ZeroDivisionError of none."""
    share, whole = hits / of, of + _Z * _Z
    middle = (hits + _Z * _Z / 2) / whole
    reach = _Z / whole * math.sqrt(hits * (of - hits) / of + _Z * _Z / 4)
    # At either end the interval ends there as well: sums of floats alone would miss it.
    return Share(share, middle - reach if hits else 0.0, middle + reach if hits < of else 1.0)
