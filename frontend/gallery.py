"""The HTML of result rows: small pictures or a table. Names, classes and reasons are strangers' text: escaped here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from frontend.rows import TOP, Row
from frontend.words import share

__all__ = ["frequent", "pictures", "table"]

_REASONS = {
    "folder": "Skipped: a folder",
    "macos_metadata": "Skipped: macOS put it there",
    "system_file": "Skipped: a file of the operating system",
    "link": "Skipped: a link to another file",
    "nested_zip": "Skipped: a zip within the zip",
}


def pictures(rows: Sequence[Row], pixels: Callable[[int], str]) -> str:
    """A tile for each row. `pixels`: the address of an entry's picture, by its number."""
    return f'<div class="nf-tiles" role="list">{"".join(_tile(row, pixels) for row in rows)}</div>'


def table(rows: Sequence[Row], pixels: Callable[[int], str]) -> str:
    """A line for each row: picture, name, what it is."""
    return f'<div class="nf-lines" role="list">{"".join(_line(row, pixels) for row in rows)}</div>'


def frequent(counts: dict[str, int], most: int = 12) -> str:
    """The most frequent classes as bars, most frequent first. `counts`: how many rows each class is the best of."""
    shown = list(counts.items())[:most]
    longest = max((number for _, number in shown), default=1)
    return f'<div class="nf-frequent" role="list">{"".join(_class(*each, longest) for each in shown)}</div>'


def _class(label: str, number: int, longest: int) -> str:
    name, width = escape(label, quote=True), 100 * number / longest
    return (
        f'<div class="nf-class" role="listitem"><span class="nf-class-name" title="{name}">{name}</span>'
        f'<span class="nf-class-bar"><i style="width:{width:.1f}%"></i></span><b>{number:,}</b></div>'
    )


def _tile(row: Row, pixels: Callable[[int], str]) -> str:
    if row["status"] == "ok":
        best = f"<b>{escape(row['label1'])}</b><span>{escape(share(row['probability1']))}</span>"
        under = f'<div class="nf-tile-best">{best}</div>'
    else:
        under = f'<div class="nf-tile-why">{_why(row)}</div>'
    return f'<div class="nf-tile" role="listitem">{_thumb(row, pixels)}{under}{_name(row)}</div>'


def _line(row: Row, pixels: Callable[[int], str]) -> str:
    said = _predictions(row) if row["status"] == "ok" else f'<div class="nf-line-why">{_why(row)}</div>'
    return f'<div class="nf-line" role="listitem">{_thumb(row, pixels)}{_name(row)}{said}</div>'


def _predictions(row: Row) -> str:
    best, width = escape(row["label1"], quote=True), min(max(row["probability1"], 0.0), 1.0) * 100
    others = [
        f"{escape(row[f'label{rank}'])} {escape(share(row[f'probability{rank}']))}"
        for rank in range(2, TOP + 1)
        if row[f"label{rank}"]
    ]
    return (
        f'<div class="nf-line-said"><div class="nf-bar"><span class="nf-label" title="{best}">{best}</span>'
        f'<span class="nf-share">{escape(share(row["probability1"]))}</span><i style="width:{width:.2f}%"></i></div>'
        f'<div class="nf-others">{" · ".join(others)}</div></div>'
    )


def _thumb(row: Row, pixels: Callable[[int], str]) -> str:
    if row["status"] != "ok":
        return f'<div class="nf-thumb nf-none nf-none-{escape(row["status"], quote=True)}"></div>'
    # The name stands beside it: to hear it twice would help nobody.
    source = escape(pixels(int(row["entry"])), quote=True)
    return f'<div class="nf-thumb"><img src="{source}" alt="" loading="lazy" width="224" height="224"></div>'


def _name(row: Row) -> str:
    name = escape(row["name"], quote=True)
    return f'<bdi class="nf-file" title="{name}">{name}</bdi>'


def _why(row: Row) -> str:
    if row["status"] == "skipped":
        return escape(_REASONS.get(row["code"], f"Skipped: {row['code'].replace('_', ' ')}"))
    return f"{escape(row['message'])} <code>{escape(row['code'])}</code>"
