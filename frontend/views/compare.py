"""The page that shows the same pictures through several variants, side by side: answers, certainty, time."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path

import streamlit as st

from frontend import columns, downloads
from frontend.cards import notice
from frontend.choosing import choose_variants, titles
from frontend.comparison import MOST, Comparison
from frontend.intake import intake, visit
from frontend.news import NO_MODEL, absence, patience_words
from frontend.side_by_side import SideBySide

BUSY_BEAT, CALM_BEAT = 1.0, 3.0
# Seconds between two drawings while answers come: drawing takes time from those who are timed.
DRAWN_EVERY = 3.0
SAVED_TOP_K = 5
_STYLE = Path(__file__).resolve().parents[1] / "assets" / "compare.css"


@st.cache_resource
def _workers() -> Executor:
    """Where all sessions' comparisons run: few at once, for they spoil each other's times."""
    return ThreadPoolExecutor(4, thread_name_prefix="compare")


def comparison() -> Comparison:
    """This session's state."""
    if "comparison" not in st.session_state:
        st.session_state.comparison = Comparison(visit(), _workers())
    found: Comparison = st.session_state.comparison
    return found


def news(here: Comparison) -> None:
    """What the person should know about the server, and the way to ask again."""
    status, held = here.visit.status, "Your pictures are kept and will be compared as soon as it is back."
    words, kind = absence(status, held if here.visit.tray.pictures else "")
    if status.state == "ready":
        there = any(model.ready for model in status.models)
        words, kind = patience_words(here.patience, here.visit.clock()) if there else NO_MODEL
    if here.queued and not words:
        words, kind = "Others are comparing, too: yours begins when one of them has ended.", "wait"
    if words:
        st.html(notice(words, kind))
    if status.state == "ready" and here.failed:
        st.button("Ask again", key="again", on_click=here.again)


def heartbeat(here: Comparison, drawn: tuple[int, int], when: float, first: Iterator[bool]) -> None:
    """Runs by itself every few seconds: sees answers come, the server go and come, and when to ask again."""
    news(here)
    # The first time is part of the run that draws the page, and that one looks and asks itself.
    if next(first, False):
        return
    here.watch()
    if here.busy and here.visit.clock() - when < DRAWN_EVERY:
        return
    if changes(here) != drawn or (here.due and not here.busy):
        st.rerun()


def changes(here: Comparison) -> tuple[int, int]:
    """What a page drawn earlier does not show, as far as it is another number."""
    return here.changes, here.visit.changes


def choose(here: Comparison) -> None:
    """The variants, and the downloads of what they said."""
    ready = [model for model in here.visit.status.models if model.ready]
    with st.container(key="controls", horizontal=True, vertical_alignment="bottom"):
        here.choose(choose_variants(ready, MOST))
        table = here.table()
        with st.container(key="save", horizontal=True, width="content"):
            for label, mime, text in (
                ("JSON", "application/json", downloads.comparison_json(table, SAVED_TOP_K)),
                ("CSV", "text/csv", downloads.comparison_csv(table, SAVED_TOP_K)),
            ):
                st.download_button(
                    label, text, f"ninefold-compared.{label.lower()}", mime, key=f"save-{label}", on_click="ignore",
                    disabled=not table.cells, icon=":material/download:", help=f"Download the comparison as {label}",
                )  # fmt: skip


def show(here: Comparison, table: SideBySide) -> None:
    """A row for each picture under the heads of the columns, or what to do where there are none yet."""
    if not table.pictures:
        st.html('<div class="nf-empty">Drop pictures above, take one with the camera, or try it with samples.</div>')
        return
    if not table.variants:
        st.html('<div class="nf-empty">Choose two or more variants above to see what they say.</div>')
        return
    called = titles(here.visit.status.models)
    waiting = "To be asked …" if here.visit.status.state == "ready" else "Waiting for the server"
    st.html(columns.summary(table))
    with st.container(key="comparison", gap=None):
        st.html(columns.heads(table, called))
        for place, picture in enumerate(table.pictures, 1):
            with st.container(key=f"compared-{picture.id}", gap=None):
                st.html(columns.row(table, picture, place, called, waiting))
                st.button(
                    f"Remove picture {place}", key=f"remove-{picture.id}", on_click=here.visit.tray.remove,
                    args=(picture.id,),
                )  # fmt: skip
    st.html(columns.what_times_are())
    with st.container(key="foot", horizontal=True, horizontal_alignment="center"):
        st.button("Remove all", key="clear", type="tertiary", on_click=here.visit.tray.clear)


def main() -> None:
    """One run: look, draw everything from what is known, then ask for the rest beside the run."""
    here = comparison()
    here.watch()
    drawn = changes(here)
    st.html(_STYLE)
    st.html(columns.title())
    above = st.container()
    intake(here.visit)
    choose(here)
    with above:
        restless = here.visit.status.state != "ready" or here.patience.failed or here.due or here.busy
        st.fragment(heartbeat, run_every=BUSY_BEAT if restless else CALM_BEAT)(
            here, drawn, here.visit.clock(), iter([True])
        )
    show(here, here.table())
    here.start()


main()
