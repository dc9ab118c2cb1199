"""The HTML of pictures by variants. Whatever a person or the server wrote is escaped here."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from frontend.api import Prediction, Problem, VariantName
from frontend.cards import by, top
from frontend.pictures import Picture
from frontend.side_by_side import SideBySide
from frontend.words import count, milliseconds, share, times

__all__ = ["heads", "row", "summary", "title", "what_times_are"]

_TIMES = (
    "From this page's request to its answer: the way to the server and back, decoding, and inference. One picture "
    "a request, and one request at a time, so that variants do not compete; whenever another variant has its turn, "
    "its first answer warms it up and is not counted. Medians are over the pictures that every variant answered. "
    "What else the server had to do meanwhile is in the times, too; what an evaluation measured with nothing else "
    "going on is on the page <i>Models</i>."
)


def title() -> str:
    """What the page is for, in two lines."""
    words = "The same pictures through several variants, side by side: what each of them says, and how long it takes."
    return f'<div class="nf-title"><h1>Compare models</h1><p>{words}</p></div>'


def summary(table: SideBySide) -> str:
    """How often the variants agree, and what is still to come."""
    answered, counted = len(table.compared), len(table.variants)
    words = "Choose a second variant to compare with." if counted == 1 else ""
    if counted > 1 and answered:
        who = "Both variants" if counted == 2 else f"All {counted} variants"
        words = f"{who} give the same answer for <b>{table.agreeing} of {count(answered, 'picture')}</b>."
    if table.waiting:
        words += f" {count(table.waiting, 'answer')} to come …"
    elif counted > 1 and (left := len(table.pictures) - answered):
        words += f" {count(left, 'picture')} not counted: not every variant answered."
    return f'<div class="nf-summary" role="status">{words}</div>'


def heads(table: SideBySide, titles: Mapping[str, str]) -> str:
    """The head of each column: the variant, its time, and that over the first column's."""
    shown = "".join(_head(table, variant, titles) for variant in table.variants)
    lead = '<div class="nf-lead">Median time <br>a picture</div>'
    return f'<div class="nf-heads" role="list" style="--columns:{len(table.variants)}">{lead}{shown}</div>'


def row(table: SideBySide, picture: Picture, place: int, titles: Mapping[str, str], waiting: str) -> str:
    """A picture, whether the answers agree, and a cell for each variant. `waiting`: what stands where none is yet."""
    cells = "".join(_cell(table, picture, variant, titles, waiting) for variant in table.variants)
    label = escape(f"Picture {place}: {picture.name}", quote=True)
    return (
        f'<section class="nf-row" aria-label="{label}" style="--columns:{len(table.variants)}">'
        f'<div class="nf-row-picture">{top(picture, place)}{_verdict(table.agree(picture))}</div>{cells}</section>'
    )


def what_times_are() -> str:
    """The small print."""
    return f'<details class="nf-missing"><summary>What the times are</summary><div>{_TIMES}</div></details>'


def _head(table: SideBySide, variant: VariantName, titles: Mapping[str, str]) -> str:
    seconds, ratio = table.typical_seconds(variant), table.ratio(variant)
    took = milliseconds(seconds) if seconds else "–"
    beside = (
        "the others are held to it" if variant == table.variants[0] else f"{times(ratio)} the first" if ratio else ""
    )
    if len(table.variants) == 1:
        beside = ""
    return (
        f'<div class="nf-column" role="listitem">{by(titles, variant)}'
        f'<div class="nf-took"><b>{took}</b> <span>{beside}</span></div></div>'
    )


def _verdict(agree: bool | None) -> str:
    if agree is None:
        return ""
    return (
        '<div class="nf-verdict">= The same answer</div>'
        if agree
        else '<div class="nf-verdict nf-differ">≠ Answers differ</div>'
    )


def _cell(table: SideBySide, picture: Picture, variant: VariantName, titles: Mapping[str, str], waiting: str) -> str:
    cell, best = table.cell(picture, variant), table.best(picture, variant)
    name = by(titles, variant)
    if cell is None:
        return f'<div class="nf-cell">{name}<div class="nf-waiting"><span>{escape(waiting)}</span></div></div>'
    if best is None:
        return f'<div class="nf-cell nf-unanswered">{name}{_problem(cell.answer.problem)}</div>'
    differs = table.differs(picture, variant)
    others = " · ".join(f"{escape(p.label)} {escape(share(p.probability))}" for p in cell.answer.predictions[1:3])
    took = f'<div class="nf-took">{milliseconds(cell.seconds)}</div>' if cell.seconds is not None else ""
    kind = " nf-other" if differs else ""
    shown = f'{_best(best, differs)}<div class="nf-others">{others}</div>{took}'
    return f'<div class="nf-cell{kind}">{name}{shown}</div>'


def _best(best: Prediction, differs: bool) -> str:
    label, part = escape(best.label, quote=True), min(max(best.probability, 0.0), 1.0)
    mark = '<span class="nf-mark" role="img" aria-label="differs from the first:">≠</span> ' if differs else ""
    return (
        f'<div class="nf-bar"><span class="nf-label" title="{label}">{mark}{label}</span>'
        f'<span class="nf-share">{escape(share(best.probability))}</span><i style="width:{part * 100:.2f}%"></i></div>'
    )


def _problem(problem: Problem | None) -> str:
    code, message = (problem.code, problem.message) if problem else ("no_predictions", "No prediction came.")
    words = escape(message, quote=True)
    return (
        f'<div class="nf-problem"><b>No answer</b><span title="{words}">{words}</span><code>{escape(code)}</code></div>'
    )
