"""The HTML of a card and of the page's notices. Everything a person or the server wrote is escaped here."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from html import escape

from frontend.api import Answer, Model, Prediction, Problem, VariantName
from frontend.pictures import Picture

__all__ = ["body", "by", "in_words", "missing", "notice", "refused", "title", "top", "who_answers"]

_NO_PREVIEW = '<div class="nf-blank" role="img" aria-label="{alt}, no preview"><span>No preview</span></div>'


def title(places: int, max_bytes: int) -> str:
    """What the page is for, in two lines."""
    limits = f"Up to {_number(places)} at once, {max_bytes / 1e6:.0f} MB each. Every picture gets its own answer."
    return f'<div class="nf-title"><h1>What is in your pictures?</h1><p>{limits}</p></div>'


def top(picture: Picture, place: int) -> str:
    """The picture itself, or a neutral stand-in, with its name under it."""
    alt = escape(f"Picture {place}: {picture.name}", quote=True)
    if picture.thumbnail:
        source = base64.b64encode(picture.thumbnail).decode("ascii")
        shown = f'<img src="data:image/jpeg;base64,{source}" alt="{alt}">'
    else:
        shown = _NO_PREVIEW.format(alt=alt)
    name = escape(picture.name, quote=True)
    return f'<div class="nf-frame">{shown}</div><div class="nf-name" title="{name}">{name}</div>'


def body(answer: Answer | None, top_k: int, waiting: str) -> str:
    """Under the picture: the bars, the problem in words, or the waiting state."""
    if answer is None:
        return _waiting(waiting, top_k)
    return _problem(answer.problem) if answer.problem else _bars(answer.predictions[:top_k])


def notice(words: str, kind: str) -> str:
    """A line across the page. `kind`: 'calm', 'wait' or 'stop'."""
    return f'<div class="nf-notice nf-{kind}" role="status">{in_words(words)}</div>'


def refused(names: Sequence[str], places: int) -> str:
    """Which files were not taken, and what to do."""
    listed = ", ".join(f"“{escape(name)}”" for name in names)
    verb = "was" if len(names) == 1 else "were"
    words = f"{listed} {verb} not taken: there is room for {_number(places)} pictures. Remove one to make room."
    return f'<div class="nf-notice nf-stop" role="alert">{words}</div>'


def who_answers(model: Model, variant: VariantName) -> str:
    """One line that names the model behind the answers, and why it is this one."""
    why = f"because {in_words(model.reason)}" if model.default and model.reason else "because you chose it"
    why = why.removesuffix(".")
    name = f"<b>{escape(model.title)}</b> <span class='nf-chip'>{escape(variant.precision)}</span>"
    slower = f"<br>Not in int8, which is faster: {in_words(model.why_not_int8)}" if model.why_not_int8 else ""
    return f'<div class="nf-who">{name} answers, {why}.{slower}</div>'


def by(titles: Mapping[str, str], variant: VariantName | None) -> str:
    """Model and precision in a line, where results are: nobody should have to scroll for who answered."""
    if variant is None:
        return ""
    name = escape(titles.get(variant.model, variant.model))
    return f'<div class="nf-by">{name} <span class="nf-chip">{escape(variant.precision)}</span></div>'


def missing(models: Sequence[Model]) -> str:
    """The models that are known and not here: visible, not to be chosen."""
    rows = "".join(f"<div><b>{escape(model.title)}</b> is missing. {in_words(model.reason)}</div>" for model in models)
    titles = ", ".join(escape(model.title) for model in models)
    return f'<details class="nf-missing"><summary>Not available here: {titles}</summary>{rows}</details>'


def in_words(text: str) -> str:
    """The server's words as HTML; it marks commands by backticks."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _bars(predictions: Sequence[Prediction]) -> str:
    return f'<div class="nf-bars" role="list">{"".join(map(_bar, predictions))}</div>'


def _bar(prediction: Prediction) -> str:
    label, share = escape(prediction.label, quote=True), min(max(prediction.probability, 0.0), 1.0)
    percent = f"{share:.1%}" if share >= 0.0005 else "&lt;0.1%"
    return (
        f'<div class="nf-bar" role="listitem"><span class="nf-label" title="{label}">{label}</span>'
        f'<span class="nf-share">{percent}</span><i style="width:{share * 100:.2f}%"></i></div>'
    )


def _problem(problem: Problem) -> str:
    return (
        f'<div class="nf-problem" role="alert"><b>No answer for this picture</b><span>{escape(problem.message)}</span>'
        f"<code>{escape(problem.code)}</code></div>"
    )


def _waiting(words: str, top_k: int) -> str:
    ghosts = '<div class="nf-ghost"></div>' * top_k
    return f'<div class="nf-waiting" role="status"><span>{escape(words)}</span>{ghosts}</div>'


def _number(places: int) -> str:
    return {9: "nine"}.get(places, str(places))
