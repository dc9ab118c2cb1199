"""An evaluation as a picture: accuracy over time, size as area, a label at each variant."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from cli.evaluate.figures import Figures
from cli.evaluate.labels import Spot, place_labels
from inference.catalogue import PRECISIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLOURS = {"fp32": "#4c72b0", "bf16": "#8172b3", "fp16": "#dd8452", "int8": "#2a8f6d", "pruned": "#c44e52"}
_DARK = {"fp32": "#2c4574", "bf16": "#4f4377", "fp16": "#8a4a1f", "int8": "#175743", "pruned": "#7f2a2d"}
_LARGEST = 900  # square points
_DPI = 144
_LOG_FROM = 3  # how many times the quickest's time the slowest must take for a logarithmic axis
_EXAMPLES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


def png(figures: Figures) -> bytes:
    """The PNG's bytes."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # a second that only the end pays

    drawn = _drawn(figures)
    figure = Figure(figsize=(10, 6.4), layout="constrained", dpi=_DPI)
    axes = figure.subplots()
    spots = _spots(drawn)
    for variant, spot in zip(drawn, spots, strict=True):
        _point(axes, spot, COLOURS[variant["precision"]])
    _scale(axes, spots)
    _words(axes, figures, len(drawn))
    _legends(axes, drawn)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    place_labels(axes, spots)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=_DPI)
    return file.getvalue()


def _drawn(figures: Figures) -> list[Figures]:
    """The variants, without random weights, which no accuracy is to be expected of, if there are others."""
    trained = [each for each in figures["variants"] if not each["random"]]
    return trained or list(figures["variants"])


def _spots(drawn: list[Figures]) -> list[Spot]:
    """Where each is: milliseconds, and the accuracy with its interval in percent."""
    largest = max(variant["size_bytes"] for variant in drawn)
    return [
        Spot(
            x=each["milliseconds"],
            low=100 * each["top1"]["low"],
            middle=100 * each["top1"]["share"],
            high=100 * each["top1"]["high"],
            area=_LARGEST * each["size_bytes"] / largest,
            label=f"{each['title']} {each['precision']}",
            colour=_DARK[each["precision"]],
        )
        for each in drawn
    ]


def _point(axes: Axes, spot: Spot, colour: str) -> None:
    axes.vlines(spot.x, spot.low, spot.high, color=colour, linewidth=1, alpha=0.55, zorder=2)
    axes.scatter([spot.x], [spot.middle], s=spot.area, color=colour, alpha=0.45, edgecolor=colour, zorder=3)
    axes.scatter([spot.x], [spot.middle], s=6, color=colour, zorder=4)


def _scale(axes: Axes, spots: list[Spot]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator  # noqa: PLC0415

    times = [spot.x for spot in spots]
    if max(times) >= _LOG_FROM * min(times):
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5, 7)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlim(min(times) / 1.35, max(times) * 1.35)
    else:
        axes.set_xlim(0, max(times) * 1.25)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    low, high = min(spot.low for spot in spots), max(spot.high for spot in spots)
    room = 0.12 * (high - low) + 0.5
    axes.set_ylim(max(low - room, 0), min(high + room, 100))


def _words(axes: Axes, figures: Figures, drawn: int) -> None:
    data, machine = figures["data"], figures["machine"]
    axes.set_xlabel("one image alone, ms (pixels to logits, median)")
    axes.set_ylabel("top-1, % (line: Wilson's interval at 95 %)")
    without = len(figures["variants"]) - drawn
    note = f"; {without} with random weights not drawn" if without else ""
    axes.set_title(
        f"{data['images']:,} images ({data['name']}), {machine['processor']}, {machine['cores']} cores{note}",
        fontsize=10, loc="left",
    )  # fmt: skip
    axes.grid(color="#e3e3e3", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _legends(axes: Axes, drawn: list[Figures]) -> None:
    """Below the axes, where no point is: the precisions' colours, and what some areas mean."""
    largest = max(variant["size_bytes"] for variant in drawn) / 1e6
    there = {variant["precision"] for variant in drawn}
    handles = [
        axes.scatter([], [], s=50, color=COLOURS[name], alpha=0.6, label=name) for name in PRECISIONS if name in there
    ]
    for size in [size for size in _EXAMPLES if size <= largest][-3:]:
        area = _LARGEST * size / largest
        handles.append(axes.scatter([], [], s=area, facecolor="none", edgecolor="#777777", label=f"{size} MB on disk"))
    axes.figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
        handletextpad=1.2, columnspacing=2.5, borderpad=1.2,
    )  # fmt: skip
