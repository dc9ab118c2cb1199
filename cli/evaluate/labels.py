"""Labels beside points: they cover neither each other nor a point, and stand on as few lines as there is room for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import cos, pi, sin, sqrt
from typing import TYPE_CHECKING, Any

from matplotlib.patheffects import Normal, Stroke
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True)
class Spot:
    """A point with its interval, the area of its circle in square points, and what its label says, in which colour."""

    x: float
    low: float
    middle: float
    high: float
    area: float
    label: str
    colour: str


_GAPS = (3, 8, 16, 28, 44, 66, 92, 120)  # points between a circle and its label, the nearest first
_DIRECTIONS = 16
_LINE_FROM = 16
_LINE_CROSSED = 6  # points


def place_labels(axes: Axes, spots: Sequence[Spot]) -> list[Bbox]:
    """Draws a label at each spot; the figure's layout must be final.

    Where there is no free place near, the place with the least overlap is taken. Returns the labels' boxes, in pixels.
    """
    scale = axes.figure.dpi / 72
    circles = [_circle(axes, spot, sqrt(spot.area / pi) * scale) for spot in spots]
    lines = [_interval(axes, spot) for spot in spots]
    placed: list[Bbox] = []
    for spot, circle in zip(spots, circles, strict=True):
        text = axes.text(0, 0, spot.label, fontsize=8.5, color=spot.colour, zorder=6, transform=None)
        text.set_path_effects([Stroke(linewidth=2.5, foreground="white"), Normal()])
        size = text.get_window_extent()
        box, gap = _best(circle, size, (circles + placed, lines), axes.bbox, scale)
        text.set_position((box.x0, box.y0 - size.y0))
        if gap >= _LINE_FROM:
            _lead(axes, circle, box)
        placed.append(box)
    return placed


def _circle(axes: Axes, spot: Spot, radius: float) -> Bbox:
    x, y = axes.transData.transform((spot.x, spot.middle))
    return Bbox.from_extents(x - radius, y - radius, x + radius, y + radius)


def _interval(axes: Axes, spot: Spot) -> Bbox:
    (x, low), (_, high) = axes.transData.transform([(spot.x, spot.low), (spot.x, spot.high)])
    return Bbox.from_extents(x - 1, low, x + 1, high)


def _best(
    circle: Bbox, size: Bbox, there: tuple[Sequence[Bbox], Sequence[Bbox]], inside: Bbox, scale: float
) -> tuple[Bbox, int]:
    """The nearest place that covers none of `there[0]`; a line crossed, of `there[1]`, is as bad as some distance."""
    taken, lines = there
    best: tuple[float, float, Bbox, int] | None = None
    for box, gap in _places(circle, size, scale):
        if best is not None and best[:2] <= (0.0, gap):
            break
        outside = size.width * size.height - _overlap(box, inside)
        covered = outside + sum(_overlap(box, other) for other in taken)
        cost = float(gap + _LINE_CROSSED * sum(_overlap(box, line) > 0 for line in lines))
        if best is None or (covered, cost) < best[:2]:
            best = (covered, cost, box, gap)
    assert best is not None  # noqa: S101  # there are places
    return best[2], best[3]


def _places(circle: Bbox, size: Bbox, scale: float) -> Iterator[tuple[Bbox, int]]:
    """Boxes of the label's size around the circle, from near to far, the right side first."""
    middle_x, middle_y = (circle.x0 + circle.x1) / 2, (circle.y0 + circle.y1) / 2
    order = sorted(range(_DIRECTIONS), key=lambda turn: min(turn, _DIRECTIONS - turn))
    for gap, turn in product(_GAPS, order):
        angle = 2 * pi * turn / _DIRECTIONS
        reach = circle.width / 2 + gap * scale
        x = middle_x + cos(angle) * (reach + size.width / 2)
        y = middle_y + sin(angle) * (reach + size.height / 2)
        yield Bbox.from_bounds(x - size.width / 2, y - size.height / 2, size.width, size.height), gap


def _overlap(one: Bbox, other: Bbox) -> float:
    """The shared area, in square pixels."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    return max(float(width), 0.0) * max(float(height), 0.0)


def _lead(axes: Axes, circle: Bbox, box: Bbox) -> None:
    """A thin line from a label that is not near to its point."""
    x, y = (circle.x0 + circle.x1) / 2, (circle.y0 + circle.y1) / 2
    to_x, to_y = min(max(x, box.x0), box.x1), min(max(y, box.y0), box.y1)
    style: dict[str, Any] = {"color": "#999999", "linewidth": 0.6, "zorder": 5, "transform": None}
    axes.plot([x, to_x], [y, to_y], scalex=False, scaley=False, **style)
