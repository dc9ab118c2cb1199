"""Where names stand beside circles, so that they cover neither circles nor each other: Vega-Lite leaves that open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

__all__ = ["Circle", "Label", "place"]

_LETTER, _LINE, _GAP = 6.9, 17.0, 5.0
"""Pixels: the width of a letter on average, the height of a line, and what is left between circle and name."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Circle:
    """A circle with its name; pixels, y downwards."""

    x: float
    y: float
    radius: float
    name: str


@dataclass(frozen=True)
class Label:
    """Where a name stands from the centre of its circle, in pixels, and which end of it stands there."""

    dx: float
    dy: float
    align: Literal["left", "right", "center"]


def place(circles: Sequence[Circle], width: float, height: float) -> list[Label]:
    """A label for each circle, one after the other: of the places around it the one that covers least."""
    around = [(c, c.radius + _GAP / 2) for c in circles]
    covered = [(c.x - r, c.y - r, c.x + r, c.y + r) for c, r in around]
    taken: list[Box] = []
    labels = []
    for circle in circles:
        choices = [(_box(circle, label), label) for label in _around(circle.radius)]
        box, label = min(choices, key=lambda choice: _cost(choice[0], covered, taken, width, height))
        taken.append(box)
        labels.append(label)
    return labels


def _around(radius: float) -> list[Label]:
    """The better ones first: of equals the first is taken."""
    beside, over = radius + _GAP, radius + _LINE / 2 + 1
    slanting = radius * 0.7
    return [
        Label(beside, 0, "left"),
        Label(-beside, 0, "right"),
        Label(0, -over, "center"),
        Label(0, over, "center"),
        *(Label(slanting, up, "left") for up in (-over, over)),
        *(Label(-slanting, up, "right") for up in (-over, over)),
        *(Label(0, 2 * up, "center") for up in (-over, over)),
    ]


def _box(circle: Circle, label: Label) -> Box:
    wide = len(circle.name) * _LETTER
    start = circle.x + label.dx - {"left": 0.0, "center": wide / 2, "right": wide}[label.align]
    middle = circle.y + label.dy
    return start, middle - _LINE / 2, start + wide, middle + _LINE / 2


def _cost(box: Box, circles: Sequence[Box], names: Sequence[Box], width: float, height: float) -> float:
    """Square pixels of what is covered, and of what lies outside of the plot; circles are small, and count for more."""
    outside = _area(box) - _shared(box, (0.0, 0.0, width, height))
    return 2 * outside + 4 * sum(_shared(box, each) for each in circles) + sum(_shared(box, each) for each in names)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return wide * high if wide > 0 and high > 0 else 0.0
