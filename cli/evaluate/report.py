"""What people and programs read of an evaluation: a table for the terminal, and evaluation.json, .md, .csv, .png."""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from cli.console import printable
from cli.evaluate.figures import Figures

COLUMNS = ("model", "precision", "top-1, %", "top-5, %", "as fp32, %", "ms", "of fp32", "images/s", "MB", "zipped")
_NUMBERS = COLUMNS[2:]
_SHARES = ("top1", "top5", "agreement")
_MEANINGS = (
    "In brackets: Wilson's interval at 95 %. *as fp32*: the same top-1 as the model's fp32. *ms*: one image alone, "
    "pixels to logits, the median; *of fp32*: that over fp32's in the same run, the median of the rounds' ratios. "
    "*images/s*: files' bytes to the five best, on all cores. *MB*: the artefact's files, and the same *zipped*."
)


def table(figures: Figures) -> Table:
    """For the terminal: two lines a variant, for one would be too long for most."""
    made = Table(title=Text(printable(title(figures))), title_justify="left", box=None, padding=(0, 1, 0, 0))
    made.add_column("model\nprecision", overflow="fold")
    for name in ("top-1, %", "top-5, %", "as fp32, %", "ms\nof fp32", "images/s", "MB\nzipped"):
        made.add_column(name, justify="right", no_wrap=True)
    for variant in figures["variants"]:
        model, precision, *shares, alone, ratio, rate, size, zipped = cells(variant)
        lines = [each.partition(" ")[::2] for each in shares]
        made.add_row(
            *(_two(*each) for each in ((model, precision), *lines, (alone, ratio), (rate, ""), (size, zipped)))
        )
    return made


def _two(first: str, second: str) -> Text:
    return Text(first).append(f"\n{second}", style="dim")


def title(figures: Figures) -> str:
    """What was asked, on what machine."""
    data, machine = figures["data"], figures["machine"]
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    return f"{data['images']:,} images ({data['name']}) on {machine['processor']}, {cores}"


def notes(figures: Figures) -> list[str]:
    """What belongs to the table: errors, and what is missing and why."""
    errors = max((variant["errors"] for variant in figures["variants"]), default=0)
    lines = [f"{errors:,} of the images could not be answered; shares are of the others."] if errors else []
    return lines + [f"{each['model']} is missing: {each['reason']}" for each in figures["missing"]]


def cells(variant: Figures) -> tuple[str, ...]:
    """One row, in the order of COLUMNS."""
    ratio = variant["time_ratio"]
    return (
        variant["model"],
        variant["precision"],
        *(_share(variant[name]) for name in _SHARES),
        f"{variant['milliseconds']:.2f}",
        "–" if ratio is None else f"{ratio:.2f}",
        f"{variant['images_per_second']:.1f}",
        f"{variant['size_bytes'] / 1e6:.1f}",
        f"{variant['zipped_bytes'] / 1e6:.1f}",
    )


def _share(share: dict[str, float] | None) -> str:
    """`74.2 (68.5–79.2)`, in percent."""
    if share is None:
        return "–"
    return f"{100 * share['share']:.1f} ({100 * share['low']:.1f}–{100 * share['high']:.1f})"


# -- files ---------------------------------------------------------------------------------------------------------


def write(figures: Figures, folder: Path) -> list[Path]:
    """Writes all four, each whole or not at all; evaluation.json last. Raises OSError."""
    from cli.evaluate.plot import png  # noqa: PLC0415  # a second that only the end pays

    makers: dict[str, Callable[[Figures], bytes]] = {"png": png, "md": _markdown, "csv": _csv, "json": _json}
    contents = {folder / f"evaluation.{suffix}": make(figures) for suffix, make in makers.items()}
    for path, content in contents.items():
        part = path.with_name(f".{path.name}-{os.getpid()}")
        try:
            part.write_bytes(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    return list(contents)


def _json(figures: Figures) -> bytes:
    return (json.dumps(figures, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _markdown(figures: Figures) -> bytes:
    rows = [COLUMNS, *(cells(variant) for variant in figures["variants"])]
    rule = "|".join("---:" if name in _NUMBERS else "---" for name in COLUMNS)
    head, *body = ("| " + " | ".join(_escaped(cell) for cell in row) + " |" for row in rows)
    machine = f"OpenVINO {figures['machine']['openvino']}, {figures['made_at']}"
    lines = [f"{title(figures)}, {machine}", "", head, f"|{rule}|", *body, "", _MEANINGS]
    for note in notes(figures):
        lines += ["", note]
    return ("\n".join(lines) + "\n").encode()


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _csv(figures: Figures) -> bytes:
    """A row a variant: the JSON's figures as they are, an interval as three columns; nothing where there is none."""
    rows = [_flat(variant) for variant in figures["variants"]]
    file = io.StringIO()
    writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue().encode()


def _flat(variant: Figures) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in variant.items():
        if name in _SHARES:
            flat |= {f"{name}_{part}": value[part] if value else None for part in ("share", "low", "high")}
        else:
            flat[name] = value
    return flat
