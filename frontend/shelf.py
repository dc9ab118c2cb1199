"""The HTML of the models: what is here, in which precisions, how large, how near its reference. Escaped here."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from frontend.api import Agreement, Model, Transform, Variant
from frontend.cards import in_words
from frontend.words import count, share, size

__all__ = ["table", "title", "to_add"]


def title() -> str:
    """What the page is for, in two lines."""
    words = "What can answer here, how good it is, how fast and how large, and what could be added."
    return f'<div class="nf-title"><h1>Models</h1><p>{words}</p></div>'


def table(models: Sequence[Model]) -> str:
    """A group of rows for each model, missing ones too: a line a precision under the model's own line."""
    columns = ("Precision", "State", "Size", "Same top-1 as its reference")
    heads = "".join(f'<th scope="col">{name}</th>' for name in columns)
    first = sorted(models, key=lambda model: (not model.default, not model.ready))  # what answers, what could, the rest
    groups = "".join(_group(model) for model in first)
    return f'<table class="nf-table nf-models"><thead><tr>{heads}</tr></thead>{groups}</table>'


def to_add(model: Model) -> str:
    """Which model and which precisions the commands beside it are for."""
    names = ", ".join(escape(each.precision) for each in model.absent)
    return f'<div class="nf-add"><b>{escape(model.title)}</b> <span>{names}</span></div>'


def _group(model: Model) -> str:
    rows = [_row(model, variant) for variant in model.variants]
    if not rows:
        rows = [_cells("–", '<span class="nf-lacks">missing</span>', "–", "–")]
    lines = [_transform(model.transform)] if model.transform else []
    if model.absent and model.ready:
        lines.append(f"not made yet: {', '.join(escape(each.precision) for each in model.absent)}")
    default = '<span class="nf-chip nf-default">answers by default</span>' if model.default else ""
    head = (
        f'<tr><th scope="rowgroup" colspan="4"><span class="nf-model">{escape(model.title)}</span> '
        f"<code>{escape(model.name)}</code> {default}<div>{' · '.join(lines)}</div>{_why(model)}</th></tr>"
    )
    return f"<tbody>{head}{''.join(rows)}</tbody>"


def _why(model: Model) -> str:
    """Of the default why it is the default, and why not in int8; of a missing one why it is missing."""
    parts = []
    if model.default and model.reason:
        parts.append(f"It answers because {in_words(model.reason.removesuffix('.'))}.")
    elif not model.ready and model.reason:
        parts.append(f"Missing: {in_words(model.reason)}")
    if model.why_not_int8:
        parts.append(f"Not in int8, which is faster: {in_words(model.why_not_int8)}")
    return "".join(f"<div>{part}</div>" for part in parts)


def _row(model: Model, variant: Variant) -> str:
    state = "ready" + (", <b>answers by default</b>" if model.default and variant.default else "")
    held = size(variant.size_bytes) if variant.size_bytes else "–"
    chip = f'<span class="nf-chip">{escape(variant.precision)}</span>'
    return _cells(chip, state, held, _agreement(variant.agreement))


def _cells(name: str, state: str, held: str, agreement: str) -> str:
    return f'<tr><th scope="row">{name}</th><td>{state}</td><td>{held}</td><td>{agreement}</td></tr>'


def _agreement(agreement: Agreement | None) -> str:
    if agreement is None:
        return "–"
    reference = escape(agreement.reference)
    return f"{share(agreement.top1)} <span>of {count(agreement.images, 'picture')}, against {reference}</span>"


def _transform(transform: Transform) -> str:
    square = f"{transform.crop} × {transform.crop}"
    return (
        f"Pixels: shorter side to {transform.resize} ({escape(transform.interpolation)}), of that the centre {square}"
    )
