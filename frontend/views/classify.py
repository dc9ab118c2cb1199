"""The page for one to nine pictures: given by drop, camera or samples; answered each on its own card."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st

from frontend import cards, downloads
from frontend.api import VariantName
from frontend.choosing import choose_model, choose_precision, titles
from frontend.intake import intake, visit
from frontend.news import NO_MODEL, absence, patience_words
from frontend.pictures import PLACES
from frontend.visit import ASKED_TOP_K, Visit

BUSY_BEAT, CALM_BEAT = 1.0, 3.0
# Seconds a run waits for answers; what takes longer is collected by the heartbeat, and the page stays usable.
QUICK = 2.0


def news(here: Visit) -> None:
    """What the person should know about the server, and the way to ask again."""
    words, kind = server_words(here)
    if words:
        st.html(cards.notice(words, kind))
    if here.status.state == "ready" and here.patience.spent:
        st.button("Ask again", key="again", on_click=here.patience.reset)


def server_words(here: Visit) -> tuple[str, str]:
    """(words, kind) of the notice; no words where all is well."""
    if here.status.state != "ready":
        kept = "Your pictures are kept and will be answered as soon as it is back."
        return absence(here.status, kept if here.tray.pictures else "")
    if here.asked is None:
        return NO_MODEL
    return patience_words(here.patience, here.clock())


def heartbeat(here: Visit, drawn: int, first: Iterator[bool]) -> None:
    """Runs by itself every few seconds: sees answers come, the server go and come, and when to ask again."""
    news(here)
    # The first time is part of the run that draws the page, and that one looks and asks itself.
    if next(first, False):
        return
    here.collect()
    here.look()
    if here.changes != drawn or here.due:
        st.rerun()


def choose(here: Visit) -> int:
    """The model, its precision and how many predictions a card shows; returns the latter."""
    ready = [model for model in here.status.models if model.ready]
    with st.container(key="controls", horizontal=True, vertical_alignment="bottom"):
        model = choose_model(ready)
        here.choose(choose_precision(model) if model else None)
        top_k = st.slider("Predictions a picture", 1, ASKED_TOP_K, 5, key="top_k", width=220)
        save(here, top_k)
    if model and here.asked:
        st.html(cards.who_answers(model, here.asked))
    absent = [model for model in here.status.models if not model.ready]
    if absent:
        st.html(cards.missing(absent))
    return int(top_k)


def save(here: Visit, top_k: int) -> None:
    """Both files hold what the cards show."""
    known = [here.tray.answer(picture, here.asked) for picture in here.tray.pictures]
    answers = [answer for answer in known if answer]
    variant = here.asked or VariantName("", "")
    with st.container(key="save", horizontal=True, width="content"):
        for label, name, mime, text in (
            ("JSON", "ninefold.json", "application/json", downloads.as_json(variant, answers, top_k)),
            ("CSV", "ninefold.csv", "text/csv", downloads.as_csv(answers, top_k)),
        ):
            st.download_button(
                label, text, name, mime, key=f"save-{label}", on_click="ignore", disabled=not answers,
                icon=":material/download:", help=f"Download the results as {label}",
            )  # fmt: skip


def show(here: Visit, top_k: int) -> None:
    """The cards, or what to do where there are none yet."""
    if not here.tray.pictures:
        st.html('<div class="nf-empty">Drop pictures above, take one with the camera, or try it with samples.</div>')
        return
    looking = here.status.state == "ready" and (here.due or here.asking)
    words = "Looking at it …" if looking else "Waiting for the server"
    by = cards.by(titles(here.status.models), here.asked)
    with st.container(key="grid"):
        for place, picture in enumerate(here.tray.pictures, 1):
            with st.container(key=f"card-{picture.id}", gap=None):
                st.html(cards.top(picture, place))
                st.html(cards.body(here.tray.answer(picture, here.asked), top_k, words) + by)
                st.button(
                    f"Remove picture {place}", key=f"remove-{picture.id}", on_click=here.tray.remove, args=(picture.id,)
                )
    with st.container(key="foot", horizontal=True, horizontal_alignment="center"):
        st.button("Remove all", key="clear", type="tertiary", on_click=here.tray.clear)


def main() -> None:
    """One run: look, draw everything, and only then wait for answers, so that the cards are already there."""
    here = visit()
    here.collect()
    here.look()
    drawn = here.changes
    st.html(cards.title(PLACES, here.tray.max_bytes))
    above = st.container()
    intake(here)
    below = st.container()
    with below:
        top_k = choose(here)
    with above:
        restless = here.status.state != "ready" or here.patience.failed or here.due or here.asking
        st.fragment(heartbeat, run_every=BUSY_BEAT if restless else CALM_BEAT)(here, drawn, iter([True]))
    show(here, top_k)
    here.ask()
    here.collect(QUICK)
    if here.changes != drawn:
        st.rerun()


main()
