"""The page of all models: what is here, what could be added, and how the last evaluation found them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from frontend import measured, plot, shelf
from frontend.api import Api, ApiError, Model
from frontend.cards import notice
from frontend.evaluation import Evaluation, last_evaluation
from frontend.intake import visit
from frontend.news import NO_MODEL, absence
from frontend.visit import Visit
from frontend.words import zone

BEAT = 5.0
EVALUATE = "ninefold evaluate --data DIR --models all"
_STYLE = Path(__file__).resolve().parents[1] / "assets" / "models.css"


@dataclass(frozen=True)
class Seen:
    """The last evaluation, or in words why it could not be had; neither where nothing was evaluated."""

    evaluation: Evaluation | None = None
    words: str = ""


def see(api: Api) -> Seen:
    """Never raises."""
    try:
        return Seen(last_evaluation(api))
    except ApiError as error:
        return Seen(words=error.message)


def heartbeat(here: Visit, drawn: int, seen: Seen, first: Iterator[bool]) -> None:
    """Runs by itself every few seconds; what has changed draws the page anew."""
    words, kind = absence(here.status)
    if here.status.state == "ready" and not any(model.ready for model in here.status.models):
        words, kind = NO_MODEL
    if words:
        st.html(notice(words, kind))
    if next(first, False):
        return
    here.look()
    if here.changes != drawn or (here.status.state == "ready" and see(here.api) != seen):
        st.rerun()


def adding(models: Sequence[Model]) -> None:
    """The command for each that is missing; other precisions of what is there behind a second press."""
    missing = [model for model in models if not model.ready and model.absent]
    more = [model for model in models if model.ready and model.absent]
    if missing:
        st.html('<h2 class="nf-head">To add what is missing</h2>')
        commands("missing", missing)
    if more:
        with st.expander("To add other precisions"):
            commands("more", more)


def commands(key: str, models: Sequence[Model]) -> None:
    """Each to be copied by a press."""
    with st.container(key=f"add-{key}"):
        for model in models:
            with st.container(key=f"add-{key}-{model.name}"):
                st.html(shelf.to_add(model))
                with st.container(key=f"commands-{key}-{model.name}"):
                    for absent in model.absent:
                        st.code(absent.command, language=None, wrap_lines=True)


def evaluated(seen: Seen) -> None:
    """The last evaluation as a plot and a table of the same figures, or how one is made."""
    st.html('<h2 class="nf-head">The last evaluation</h2>')
    if seen.words:
        st.html(notice(seen.words, "stop"))
        return
    if seen.evaluation is None or not seen.evaluation.variants:
        words = (
            "Nothing has been evaluated yet. This measures accuracy, time and size of every model that is there, on a "
        )
        st.html(f'<div class="nf-facts">{words}folder of labelled pictures; the result then stands here.</div>')
        st.code(EVALUATE, language=None, wrap_lines=True)
        return
    found = seen.evaluation
    st.html(measured.origin(found, zone(st.context.timezone), datetime.now(UTC)))
    with st.container(key="plot"):
        st.html(f'<div class="nf-small">{plot.HOW_TO_READ}</div>')
        st.vega_lite_chart(plot.chart(found.variants), alt=plot.WORDS)
    st.html(measured.table(found.variants))
    if found.missing:
        st.html(measured.left_out(found.missing))


def main() -> None:
    """One run: look, then draw everything from what was seen."""
    here = visit()
    here.look()
    seen = see(here.api) if here.status.state == "ready" else Seen(words="The server has to be there for that.")
    st.html(_STYLE)
    st.html(shelf.title())
    st.fragment(heartbeat, run_every=BEAT)(here, here.changes, seen, iter([True]))
    if here.status.models:
        st.html(shelf.table(here.status.models))
        adding(here.status.models)
    evaluated(seen)


main()
