from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from frontend.api import VariantName
from frontend.evaluation import Measured, Share
from frontend.placing import Circle, place
from frontend.plot import chart


def measured(title: str, precision: str, milliseconds: float, top1: float, size: int) -> Measured:
    share = Share(top1, max(0.0, top1 - 0.05), min(1.0, top1 + 0.05))
    return Measured(
        VariantName(title.lower(), precision), title, 256, 0, share, share, None, milliseconds, None, 100.0, size, size
    )


FAST, SLOW = measured("Fast", "int8", 4.0, 0.7, 4_000_000), measured("Slow", "fp32", 40.0, 0.8, 90_000_000)


def inner(*variants: Measured) -> dict[str, Any]:
    (layer,) = json.loads(json.dumps(chart(variants), allow_nan=False))["layer"]
    found: dict[str, Any] = layer
    return found


def test_every_variant_is_a_circle_of_its_size_with_its_figures_to_be_told() -> None:
    rows = inner(FAST, SLOW)["data"]["values"]
    assert [(row["name"], row["number"], row["bytes"]) for row in rows] == [
        ("Slow fp32", "2", 90_000_000),
        ("Fast int8", "1", 4_000_000),
    ], "the larger first, so that it hides none"
    assert (rows[1]["milliseconds"], rows[1]["top1"]) == (4.0, 0.7)
    assert (rows[1]["said"], rows[1]["between"], rows[1]["took"]) == ("70.0%", "65.0% to 75.0%", "4 ms")


def test_random_weights_are_drawn_only_if_there_is_nothing_else() -> None:
    chance = replace(measured("Random", "fp32", 9.0, 0.001, 5_000_000), random=True)
    spec = inner(chance, FAST, SLOW)
    assert [(row["name"], row["number"]) for row in spec["data"]["values"]] == [("Slow fp32", "3"), ("Fast int8", "2")]
    assert spec["layer"][1]["encoding"]["y"]["scale"]["domain"][0] > 0.6
    assert [row["number"] for row in inner(chance)["data"]["values"]] == ["1"]


@pytest.mark.parametrize(("other", "kind"), [(SLOW, "log"), (measured("Near", "fp32", 9.0, 0.8, 1), None)])
def test_times_far_apart_are_drawn_by_their_ratios_and_the_axis_says_so(other: Measured, kind: str | None) -> None:
    x = inner(FAST, other)["encoding"]["x"]
    assert x["scale"].get("type") == kind and ("each line doubles" in x["title"]) is (kind == "log")


@pytest.mark.parametrize(
    "variants",
    [[FAST], [FAST, FAST], [measured("Perfect", "fp32", 1.0, 1.0, 0)], [measured("Never", "odd", 1.0, 0.0, 5)]],
)
def test_few_and_extreme_figures_are_within_the_axes(variants: list[Measured]) -> None:
    spec = inner(*variants)
    (low, high), row = spec["encoding"]["x"]["scale"]["domain"], spec["data"]["values"][0]
    assert low < row["milliseconds"] < high
    bottom, top = spec["layer"][1]["encoding"]["y"]["scale"]["domain"]
    assert bottom <= row["top1"] <= top and bottom < top


def boxes(circles: list[Circle]) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of each name as it is placed; a letter counts 6 pixels, a line 12."""
    found = []
    for circle, label in zip(circles, place(circles, 900, 340), strict=True):
        wide = 6 * len(circle.name)
        left = circle.x + label.dx - {"left": 0, "center": wide / 2, "right": wide}[label.align]
        found.append((left, circle.y + label.dy - 6, left + wide, circle.y + label.dy + 6))
    return found


def test_names_cover_neither_each_other_nor_circles_nor_leave_the_plot() -> None:
    places = [(100, 100), (108, 108), (100, 118), (860, 100), (870, 104), (400, 8), (402, 330), (500, 200), (640, 201)]
    circles = [Circle(x, y, 4 + number, f"EfficientNet-Lite{number} int8") for number, (x, y) in enumerate(places)]
    named = boxes(circles)
    for number, (left, top, right, bottom) in enumerate(named):
        assert left >= 0 and top >= 0 and right <= 900 and bottom <= 340
        for other in named[number + 1 :]:
            assert other[2] <= left or right <= other[0] or other[3] <= top or bottom <= other[1]
        for circle in circles:
            beside = max(left - circle.x, circle.x - right, top - circle.y, circle.y - bottom)
            assert beside >= circle.radius * 0.7, (number, circle.name)


def test_the_plot_brings_no_tables_into_the_process() -> None:
    code = (
        "import sys, streamlit as st\n"
        "from frontend import plot, views\n"
        "from tests.frontend.test_plot import FAST, SLOW\n"
        "st.vega_lite_chart(plot.chart([FAST, SLOW]), alt=plot.WORDS)\n"
        "print([name for name in ('pandas', 'pyarrow', 'altair') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[-2] == "[]"
