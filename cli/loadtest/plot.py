"""A load test as a picture: latency by share of the requests, and second by second what was answered, how fast."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from cli.loadtest.report import Report, title

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKED = ("p50", "p95", "p99")
_RARITIES = {1: "0", 2: "p50", 10: "p90", 100: "p99", 1000: "p99.9", 10_000: "p99.99"}


def plot(figures: Report, path: Path) -> None:
    """Writes the PNG. Raises OSError."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # a second that only --png pays

    figure = Figure(figsize=(11, 5), layout="constrained")
    axes = figure.subplot_mosaic([["latency", "rate"], ["latency", "slowest"]])
    _latency(axes["latency"], figures)
    _rate(axes["rate"], figures)
    _slowest(axes["slowest"], figures)
    axes["rate"].sharex(axes["slowest"])
    rates = f"{figures['inferences_per_second']:,.1f} inferences/s, {figures['failed']:,} requests failed"
    figure.suptitle(f"{title(figures)}\n{rates}", fontsize=10)
    figure.savefig(path, format="png", dpi=120)


def _latency(axes: Axes, figures: Report) -> None:
    """The rarer, the further right: 1 in 10, in 100, in 1,000; as far as there were so many."""
    most = max(figures["answered"], 2)
    points = [(1 / (1 - each["share"]), each["ms"]) for each in figures["curve"] if each["share"] < 1]
    shown = [(rarity, ms) for rarity, ms in points if ms is not None and rarity <= most]
    if shown:
        shown.append((most, figures["latency_ms"]["max"]))
        axes.plot(*zip(*shown, strict=True))
    for name in _MARKED:
        rarity, ms = 1 / (1 - float(name[1:]) / 100), figures["latency_ms"][name]
        if ms is not None and rarity <= most:
            axes.plot(rarity, ms, "o", color="tab:blue", markersize=4)
            where = {"xytext": (6, -12)} if name == "p50" else {"xytext": (-4, 6), "ha": "right"}
            axes.annotate(f"{name} {ms:,.4g} ms", (rarity, ms), textcoords="offset points", **where)
    axes.set_xscale("log")
    axes.set_xticks(list(_RARITIES), list(_RARITIES.values()))
    axes.minorticks_off()
    axes.set(xlim=(1, most), xlabel="share of the answered requests", ylabel="latency, ms")
    _from_zero(axes, figures["latency_ms"]["max"])


def _seconds(figures: Report) -> tuple[list[Report], list[float]]:
    """The rows of the timeline and their edges; a last one too short to be a rate is left out."""
    rows, elapsed = figures["timeline"], figures["elapsed_seconds"]
    begun = len(rows) - 1  # the last second; what failed after the time that the rates are of makes it a whole one
    if begun > 0 and begun < elapsed < begun + 0.5:
        return rows[:-1], [float(second) for second in range(begun + 1)]
    end = elapsed if begun < elapsed < begun + 1 else begun + 1.0
    return rows, [*map(float, range(len(rows))), end]


def _rate(axes: Axes, figures: Report) -> None:
    rows, edges = _seconds(figures)
    for name, color in (("answered", "tab:blue"), ("failed", "tab:red")):
        if rows and (name == "answered" or figures["failed"]):
            axes.stairs(_per_second([row[name] for row in rows], edges), edges, color=color, label=name)
    if figures["rate"]:
        axes.axhline(figures["rate"], color="grey", linestyle=":", label="asked for")
    if figures["failed"] or figures["rate"]:
        axes.legend(fontsize=8)
    axes.set(ylabel="requests per second")
    axes.locator_params(axis="y", integer=True)
    _from_zero(axes, axes.dataLim.ymax)


def _per_second(counts: Sequence[int], edges: Sequence[float]) -> list[float]:
    return [count / (edges[n + 1] - edges[n]) for n, count in enumerate(counts)]


def _slowest(axes: Axes, figures: Report) -> None:
    rows = [row for row in figures["timeline"] if row["max_ms"] is not None]
    axes.plot([row["second"] + 0.5 for row in rows], [row["max_ms"] for row in rows], "o-", markersize=3)
    axes.set(xlabel="second of the measurement", ylabel="slowest answer, ms")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlim(0, max(len(figures["timeline"]), 1))
    _from_zero(axes, max((row["max_ms"] for row in rows), default=None))


def _from_zero(axes: Axes, most: float | None) -> None:
    axes.set_ylim(0, 1.12 * most if most and isfinite(most) else 1)
    axes.grid(alpha=0.3)
