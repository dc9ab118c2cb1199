"""A load test as a picture: latency by share of the requests, and what each second brought."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cli.loadtest.report import Report

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot(figures: Report, path: Path) -> None:
    """Writes the PNG. Raises OSError."""
    from matplotlib.figure import Figure  # noqa: PLC0415  # a second that only --png pays

    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    _latency(left, figures)
    _timeline(right, figures)
    figure.suptitle(f"{figures['inferences_per_second']:,.1f} inferences/s, {figures['failed']:,} failed", fontsize=11)
    figure.savefig(path, format="png", dpi=120)


def _latency(axes: Axes, figures: Report) -> None:
    """The rarer, the further right: 1 in 10, in 100, in 1,000."""
    points = [(1 / (1 - each["share"]), each["ms"]) for each in figures["curve"] if each["share"] < 1 and each["ms"]]
    points = [(rarity, ms) for rarity, ms in points if rarity <= max(figures["answered"], 1)]
    axes.plot(*zip(*points, strict=True)) if points else None
    axes.set_xscale("log")
    axes.set_xticks([1, 2, 10, 100, 1000, 10000], ["0", "p50", "p90", "p99", "p99.9", "p99.99"])
    axes.minorticks_off()
    axes.set_xlim(1, 10 ** max(1, len(str(max(figures["answered"], 1))) - 1))
    axes.set(xlabel="share of the answered requests", ylabel="latency, ms", ylim=(0, None))
    axes.grid(alpha=0.3)


def _timeline(axes: Axes, figures: Report) -> None:
    edges = range(len(figures["timeline"]) + 1)
    if figures["timeline"]:
        axes.stairs([row["answered"] for row in figures["timeline"]], edges, label="answered")
    if figures["failed"]:
        axes.stairs([row["failed"] for row in figures["timeline"]], edges, color="tab:red", label="failed")
        axes.legend()
    axes.set(xlabel="second of the measurement", ylabel="requests that ended in it", ylim=(0, None))
    axes.grid(alpha=0.3)
