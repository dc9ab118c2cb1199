"""What the measurements share: their options, turns, medians over rounds, ratios with their spread, and a picture."""

from __future__ import annotations

import argparse
import math
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

from inference.devices import cpu_count

mpl.use("agg")  # there may be no display
from matplotlib import pyplot as plt

Rounds = Sequence[float]
"""One figure a round; of two sides, figures at the same place are of the same round."""


def options(description: str, name: str, rounds: int = 5, seconds: float = 5) -> argparse.ArgumentParser:
    """The options that every measurement has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="of each way in each round")
    parser.add_argument("--precision", choices=("int8", "fp32"), default="int8")
    parser.add_argument("--megapixels", type=float, help="photographs of this size instead of 120 KB each")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures say nothing")
    parser.add_argument("--png", type=Path, default=Path(f"build/bench/{name}.png"))
    return parser


def turns(names: Sequence[str], number: int) -> list[str]:
    """The order of round `number`: each way is first as often as the others."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def ratios(ours: Rounds, theirs: Rounds) -> list[float]:
    """Ours / theirs, round by round: what disturbs a round disturbs both sides. Raises ValueError if they differ."""
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def spread(figures: Rounds, digits: int | None = None, unit: str = "") -> str:
    """The median, and from the least to the most of all rounds: "4.2 (4.0–4.4)"; "–" where one is not a number."""
    if any(math.isnan(figure) for figure in figures):
        return "–"
    middle, least, most = statistics.median(figures), min(figures), max(figures)
    digits = digits if digits is not None else 0 if middle >= 10 else 1
    return f"{middle:.{digits}f}{unit} ({least:.{digits}f}–{most:.{digits}f})"


def ran_on() -> str:
    """The machine, in words."""
    return f"{processor()}, {cpu_count()} cores, {platform.system()}, load {os.getloadavg()[0]:.1f} at the end"


def processor() -> str:
    """Its name, where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def bars(path: Path, title: str, unit: str, figures: Mapping[str, Rounds]) -> None:
    """A bar a name: the median, with a line from the least to the most of all rounds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    names = list(figures)
    medians = np.array([statistics.median(figures[name]) for name in names])
    least, most = (np.array([edge(figures[name]) for name in names]) for edge in (min, max))
    figure, axes = plt.subplots(figsize=(8, 0.6 * len(names) + 1.2), layout="constrained")
    drawn = axes.barh(names, medians, xerr=(medians - least, most - medians), color="#4c72b0", ecolor="#333333")
    axes.bar_label(drawn, labels=["–" if math.isnan(m) else f"{m:.{0 if m >= 10 else 1}f}" for m in medians], padding=4)
    axes.margins(x=0.1)
    axes.invert_yaxis()
    axes.set(xlabel=unit, title=title)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)
