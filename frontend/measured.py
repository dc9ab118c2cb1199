"""The HTML of the last evaluation: its table, and what its figures hang on. Escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from html import escape

from frontend.evaluation import Evaluation, Measured, NotMeasured, Share
from frontend.words import clock_time, count, share, size, times

__all__ = ["left_out", "origin", "table"]

_LAYOUTS = {"csv": "labels in a CSV", "folders": "a folder per class", "imagenet": "laid out as ImageNet's validation"}
_COLUMNS = (
    ("№", "its number in the plot"),
    ("Model", ""),
    ("Precision", ""),
    ("Top-1", "share of pictures whose first answer is right, and the 95 % interval"),
    ("Top-5", "share of pictures whose label is among the first five, and the 95 % interval"),
    ("Top-1 as fp32", "share of pictures with the first answer of fp32, and the 95 % interval"),
    ("ms an image", "median of one image alone, from pixels to logits"),
    ("Time over fp32", "of the same model, both in this run"),
    ("Images/s", "from a picture's bytes to its answer, on all cores"),
    ("Size", "the artefact on disk"),
    ("Zipped", "the artefact in a zip"),
)


def origin(evaluation: Evaluation, where: tzinfo, now: datetime) -> str:
    """When, on which pictures, on which machine."""
    layout = escape(_LAYOUTS.get(evaluation.layout, evaluation.layout))
    data = f"{count(evaluation.images, 'labelled picture')} of <b>{escape(evaluation.data)}</b> ({layout})"
    machine = (
        f"{escape(evaluation.processor)}, {count(evaluation.cores, 'core')}, OpenVINO {escape(evaluation.openvino)}"
    )
    if evaluation.device != "CPU":
        machine = f"<b>{escape(evaluation.device)}</b> on {machine}"
    made = clock_time(evaluation.made_at, where, now)
    return f'<div class="nf-facts">Made {made}, on {data}. Times are those of {machine}.</div>'


def table(variants: Sequence[Measured]) -> str:
    """A line a variant, in the order of the plot's numbers."""
    heads = "".join(f'<th scope="col" title="{words}">{name}</th>' for name, words in _COLUMNS)
    rows = "".join(_row(number, variant) for number, variant in enumerate(variants, 1))
    notes = "; ".join(f"<b>{name}</b> {words}" for name, words in _COLUMNS if words)
    return (
        '<div class="nf-wide" role="region" aria-label="The last evaluation" tabindex="0">'
        f'<table class="nf-table nf-measured"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<details class="nf-missing"><summary>What the columns mean</summary><div>{notes}.</div></details>'
    )


def left_out(missing: Sequence[NotMeasured]) -> str:
    """What was to be evaluated and was not there."""
    rows = "".join(f"<div><b>{escape(each.title)}</b>: {escape(each.reason)}</div>" for each in missing)
    names = ", ".join(escape(each.title) for each in missing)
    return f'<details class="nf-missing"><summary>Not evaluated: {names}</summary>{rows}</details>'


def _row(number: int, of: Measured) -> str:
    errors = f"<span>{count(of.errors, 'picture')} not answered</span>" if of.errors else ""
    cells = (
        f'<th scope="row">{escape(of.title)}{errors}</th>',
        f'<td class="nf-word"><span class="nf-chip">{escape(of.variant.precision)}</span></td>',
        *(f"<td>{_share(each)}</td>" for each in (of.top1, of.top5, of.agreement)),
        f"<td>{of.milliseconds:.3g}</td>",
        f"<td>{times(of.time_ratio) if of.time_ratio is not None else '–'}</td>",
        f"<td>{of.images_per_second:.3g}</td>"
        if of.images_per_second < 1000
        else f"<td>{of.images_per_second:,.0f}</td>",
        f"<td>{size(of.size_bytes)}</td>",
        f"<td>{size(of.zipped_bytes)}</td>",
    )
    return f"<tr><td>{number}</td>{''.join(cells)}</tr>"


def _share(of: Share | None) -> str:
    if of is None:
        return "–"
    return f"<b>{share(of.share)}</b><span>{of.low * 100:.1f}–{of.high * 100:.1f}</span>"
