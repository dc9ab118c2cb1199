"""Accuracy over time as a Vega-Lite chart: a circle a variant, its area the artefact's size, its name beside it.

The data stands within a layer, where Streamlit leaves it as it is: at the top it would become a table of pandas and
pyarrow, 80 MB of this process for a dozen rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from frontend.evaluation import Measured
from frontend.placing import Circle, Label, place
from frontend.words import share, size

__all__ = ["HOW_TO_READ", "WORDS", "chart"]

HOW_TO_READ = (
    "Higher is more often right, further left is faster, a larger circle is a larger artefact. Lines: 95 % intervals."
)
WORDS = "Top-1 accuracy over milliseconds an image, a circle for each variant. The table has the same figures."
_HEIGHT = 340
_WIDE, _NARROW = 905, 240
"""Pixels of the plot on a desk, and on a phone, where numbers stand for names."""
_ON_A_PHONE = "width < 620"
_LARGEST = 1100.0
"""Square pixels around the largest circle."""
_LOG_FROM = 5.0
# Of a lightness that can be told from white paper and from black alike.
_COLOURS = {"fp32": "#0d9488", "bf16": "#8b6fd0", "fp16": "#3b82c4", "int8": "#d97706", "pruned": "#c2557a"}
_TOLD = {"name": "Variant", "said": "Top-1", "between": "95 % interval", "took": "An image", "weighs": "Size"}


@dataclass(frozen=True)
class _Axis:
    """One direction of the plot: from `low` to `high`."""

    low: float
    high: float
    log: bool = False

    def part(self, value: float) -> float:
        """Where a value lies, 0..1."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def channel(self, field: str, title: str, **axis: Any) -> dict[str, Any]:
        """As Vega-Lite wants to be told."""
        kind = {"type": "log", "base": 2} if self.log else {"zero": False}
        scale = {"domain": [self.low, self.high], "nice": False, **kind}
        return {
            "field": field, "type": "quantitative", "title": title, "scale": scale, "axis": {"tickCount": 6, **axis},
        }  # fmt: skip


def chart(variants: Sequence[Measured]) -> dict[str, Any]:
    """The specification; the numbers are places in `variants`, counted from 1. The names' colour is models.css's.

    Random weights, which no accuracy is to be expected of, are drawn only if there is nothing else.
    """
    numbers = [number for number, each in enumerate(variants, 1) if not each.random] or range(1, len(variants) + 1)
    variants = [variants[number - 1] for number in numbers]
    x, y = _times([each.milliseconds for each in variants]), _shares(variants)
    across = x.channel("milliseconds", f"ms an image{', each line doubles' if x.log else ''}")
    up = y.channel("top1", "Top-1 accuracy", format="%")
    area: dict[str, Any] = {"field": "bytes", "type": "quantitative", "legend": None}
    area |= {"scale": {"domain": [0, _most(variants)], "range": [0, _LARGEST]}}
    told = [{"field": field, "title": name} for field, name in _TOLD.items()]
    shown = {"calculate": f"{_ON_A_PHONE} ? datum.number : datum.name", "as": "shown"}
    rule = {"mark": {"type": "rule", "opacity": 0.4}, "encoding": {"y": up | {"field": "low"}, "y2": {"field": "high"}}}
    circle = {"mark": {"type": "circle", "opacity": 0.78}, "encoding": {"y": up, "size": area}}
    names = {"mark": _names(), "encoding": {"y": up, "text": {"field": "shown"}, "color": None}}
    inner = {
        "data": {"values": _rows(variants, list(map(str, numbers)), x, y)},
        "transform": [shown],
        "encoding": {"x": across, "color": _colour(variants), "tooltip": told},
        "layer": [rule, circle, names],
    }
    fit = {"type": "fit-x", "contains": "padding"}
    return {"height": _HEIGHT, "autosize": fit, "background": "transparent", "layer": [inner]}


def _colour(variants: Sequence[Measured]) -> dict[str, Any]:
    there = {name: colour for name, colour in _COLOURS.items() if any(v.variant.precision == name for v in variants)}
    scale = {"domain": list(there), "range": list(there.values())}
    return {
        "field": "precision", "type": "nominal", "title": None, "scale": scale,
        "legend": {"orient": "top", "symbolOpacity": 1, "offset": 12, "columns": {"expr": f"{_ON_A_PHONE} ? 3 : 5"}},
    }  # fmt: skip


def _names() -> dict[str, Any]:
    """The mark of the names: as far from the circles as was found good for the width that there is."""

    def by_width(name: str) -> dict[str, str]:
        return {"expr": f"{_ON_A_PHONE} ? datum.phone_{name} : datum.{name}"}

    return {
        "type": "text", "fontSize": 12.5, "baseline": "middle",
        "align": by_width("align"), "dx": by_width("dx"), "dy": by_width("dy"),
    }  # fmt: skip


def _times(values: Sequence[float]) -> _Axis:
    """With room for the names on the right of it."""
    low, high = min(values), max(values)
    if high > _LOG_FROM * low:
        return _Axis(low / 1.35, high * 1.5, log=True)
    room = (high - low) * 0.15 or high * 0.5
    return _Axis(max(0.0, low - room), high + room * 1.6)


def _shares(variants: Sequence[Measured]) -> _Axis:
    low, high = min(each.top1.low for each in variants), max(each.top1.high for each in variants)
    room = (high - low) * 0.08 or 0.05
    return _Axis(max(0.0, low - room), min(1.0, high + room))


def _most(variants: Sequence[Measured]) -> int:
    return max(each.size_bytes for each in variants) or 1


def _labels(variants: Sequence[Measured], x: _Axis, y: _Axis, width: float, names: Sequence[str]) -> list[Label]:
    circles = [
        Circle(
            x.part(each.milliseconds) * width,
            (1 - y.part(each.top1.share)) * _HEIGHT,
            math.sqrt(_LARGEST * each.size_bytes / _most(variants)) / 2,
            name,
        )
        for each, name in zip(variants, names, strict=True)
    ]
    return place(circles, width, _HEIGHT)


def _rows(variants: Sequence[Measured], numbers: Sequence[str], x: _Axis, y: _Axis) -> list[dict[str, Any]]:
    """Largest first, so that none hides a smaller one."""
    desk = _labels(variants, x, y, _WIDE, [each.name for each in variants])
    phone = _labels(variants, x, y, _NARROW, numbers)
    rows = [_row(*each) for each in zip(variants, numbers, desk, phone, strict=True)]
    return sorted(rows, key=lambda row: -int(row["bytes"]))


def _row(of: Measured, number: str, desk: Label, phone: Label) -> dict[str, Any]:
    return {
        "number": number, "name": of.name, "precision": of.variant.precision, "bytes": of.size_bytes,
        "milliseconds": of.milliseconds, "top1": of.top1.share, "low": of.top1.low, "high": of.top1.high,
        "said": share(of.top1.share), "between": f"{share(of.top1.low)} to {share(of.top1.high)}",
        "took": f"{of.milliseconds:.3g} ms", "weighs": size(of.size_bytes),
        "dx": desk.dx, "dy": desk.dy, "align": desk.align,
        "phone_dx": phone.dx, "phone_dy": phone.dy, "phone_align": phone.align,
    }  # fmt: skip
