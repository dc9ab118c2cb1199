"""Whether answers look like those of before: the population stability index (PSI) of a window against a reference.

    PSI = Σ (p − q) · ln(p / q)        over the bins; p and q: a bin's share of the window, and of the reference

Half an answer is added to every bin, so that an empty one weighs what it can be known to weigh and no more. Two samples
of the same stream differ too: by (bins − 1) · (1/n + 1/m) on average, which is taken off, so that "as before" is 0. The
usual reading: below 0.1 little has changed, above 0.25 much. docs/adr/0022-drift.md says where all that comes from.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog

__all__ = [
    "CONFIDENCE_BOUNDS", "LABEL_BINS", "REFERENCE_ANSWERS", "WINDOW_ANSWERS", "BinPair", "Bins", "Drift", "References",
    "bins_of", "stability_index",
]  # fmt: skip

log = structlog.get_logger()

WINDOW_ANSWERS = 500
REFERENCE_ANSWERS = 1000
_LABELS_A_BIN = 50
# ImageNet's indices follow WordNet, so that fifty neighbours are of a kind: dogs, birds, vessels, food.
LABEL_BINS = tuple(f"{first}-{first + _LABELS_A_BIN - 1}" for first in range(0, 1000, _LABELS_A_BIN))
CONFIDENCE_BOUNDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""The upper bounds of the bins of a top-1 probability."""
_FORMAT = 1

BinPair = tuple[int, int]
"""An answer's bin among the labels, and among the confidences."""


def bins_of(index: int, probability: float) -> BinPair:
    """Where an answer belongs. What is past the last bin belongs to the last."""
    label = min(index // _LABELS_A_BIN, len(LABEL_BINS) - 1)
    return label, min(bisect_left(CONFIDENCE_BOUNDS, probability), len(CONFIDENCE_BOUNDS) - 1)


def stability_index(window: Sequence[int], reference: Sequence[int]) -> float:
    """The PSI of two counts over the same bins, chance's share taken off; never below 0. Raises ValueError."""
    n, m, k = sum(window), sum(reference), len(window)
    if not n or not m:
        raise ValueError("a share of nothing is not known")
    index, used = 0.0, 0
    for seen, before in zip(window, reference, strict=True):
        p, q = (seen + 0.5) / (n + 0.5 * k), (before + 0.5) / (m + 0.5 * k)
        index += (p - q) * math.log(p / q)
        used += bool(seen or before)
    return max(index - (used - 1) * (1 / n + 1 / m), 0.0)


@dataclass
class Bins:
    """Answers counted by bin."""

    labels: list[int] = field(default_factory=lambda: [0] * len(LABEL_BINS))
    confidence: list[int] = field(default_factory=lambda: [0] * len(CONFIDENCE_BOUNDS))

    @property
    def answers(self) -> int:
        """How many."""
        return sum(self.labels)

    def add(self, bins: BinPair, count: int = 1) -> None:
        """Counts answers; a negative count takes them back."""
        self.labels[bins[0]] += count
        self.confidence[bins[1]] += count


class Drift:
    """One variant's. Without a `reference` its first answers become it; the window is the last ones after that.

    A figure costs a walk over thirty bins, an answer a few additions; memory is bounded by the window.
    """

    def __init__(self, reference: Bins | None = None) -> None:
        self.reference = reference or Bins()
        self.window = Bins()
        self._learning = reference is None
        self._last: list[BinPair] = []
        self._next = 0

    def add(self, bins: BinPair) -> bool:
        """Counts an answer. True for the one that completes the reference."""
        if self._learning:
            self.reference.add(bins)
            self._learning = self.reference.answers < REFERENCE_ANSWERS
            return not self._learning
        self.window.add(bins)
        if len(self._last) < WINDOW_ANSWERS:
            self._last.append(bins)
            return False
        self.window.add(self._last[self._next], -1)
        self._last[self._next] = bins
        self._next = (self._next + 1) % WINDOW_ANSWERS
        return False

    def figures(self) -> dict[str, float]:
        """The index of "labels" and of "confidence"; nothing until reference and window are full."""
        if self._learning or len(self._last) < WINDOW_ANSWERS:
            return {}
        return {
            "labels": stability_index(self.window.labels, self.reference.labels),
            "confidence": stability_index(self.window.confidence, self.reference.confidence),
        }


class References:
    """The references in a file, which outlive the process; without a path there are none.

    A file that cannot be read, or not be written, is said in the log, and left as it is: pictures are answered without.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._usable = True
        self._known = self._read()

    def of(self, variant: str) -> Bins | None:
        """The variant's reference, if it was learnt before."""
        return self._known.get(variant)

    def keep(self, variant: str, learnt: Bins) -> None:
        """Writes it, unless another server was faster. Blocks as long as it takes to write a kilobyte."""
        kept = {variant: learnt} | self._read()
        if self._path is None or not self._usable:
            return
        body = {"format": _FORMAT, "variants": {name: vars(bins) for name, bins in sorted(kept.items())}}
        scratch = self._path.with_name(f".{self._path.name}.new")
        try:
            scratch.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
            scratch.replace(self._path)
            log.info("drift reference written", path=str(self._path), variant=variant)
        except OSError as error:
            log.warning("drift reference not written", path=str(self._path), why=str(error))
            with suppress(OSError):
                scratch.unlink(missing_ok=True)

    def _read(self) -> dict[str, Bins]:
        if self._path is None:
            return {}
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            return {name: _bins(counts) for name, counts in _variants(found).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            self._usable = False
            log.error("drift reference unreadable; the next answers are it", path=str(self._path), why=repr(error))
            return {}


def _variants(found: Any) -> Mapping[str, Any]:
    if found["format"] != _FORMAT:
        raise ValueError(f"format {found['format']}; this version reads {_FORMAT}")
    variants: Mapping[str, Any] = found["variants"]
    return variants


def _bins(counts: Mapping[str, Sequence[int]]) -> Bins:
    bins = Bins([int(count) for count in counts["labels"]], [int(count) for count in counts["confidence"]])
    whole = len(bins.labels) == len(LABEL_BINS) and len(bins.confidence) == len(CONFIDENCE_BOUNDS)
    if not whole or min(*bins.labels, *bins.confidence) < 0 or not bins.answers == sum(bins.confidence) > 0:
        raise ValueError("these are not the counts of a reference")
    return bins
