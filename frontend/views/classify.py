"""The page for one to nine pictures: given by drop, camera or samples; answered each on its own card."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor

import streamlit as st

from frontend import cards, downloads
from frontend.api import VariantName
from frontend.choosing import choose_model, choose_precision, connection
from frontend.pictures import PLACES, Tray
from frontend.samples import samples
from frontend.settings import Settings
from frontend.visit import ASKED_TOP_K, Visit

BUSY_BEAT, CALM_BEAT = 1.0, 3.0
# Seconds a run waits for answers; what takes longer is collected by the heartbeat, and the page stays usable.
QUICK = 2.0
LOCKED = (
    "The server wants a key that this page does not have. Whoever runs it: set NINEFOLD_API_KEY to one of its keys."
)


@st.cache_resource
def workers() -> Executor:
    """The threads in which all visits' requests wait."""
    return ThreadPoolExecutor(32, thread_name_prefix="ask")


def visit() -> Visit:
    """This session's state."""
    if "visit" not in st.session_state:
        settings = Settings.read()
        st.session_state.visit = Visit(
            connection(settings.api_url, settings.api_key), Tray(settings.max_image_bytes), workers()
        )
    found: Visit = st.session_state.visit
    return found


def take_drop(here: Visit, key: str) -> None:
    """Moves files from the drop zone to the list; a new key gives the person an empty drop zone again."""
    here.tray.add([(file.name, file.getvalue()) for file in st.session_state[key]])
    here.drop_round += 1


def take_snapshot(here: Visit, key: str) -> None:
    """Moves a snapshot to the list and readies the camera for the next."""
    if st.session_state[key] is not None:
        here.snapshots += 1
        here.tray.add([(f"camera-{here.snapshots}.jpg", st.session_state[key].getvalue())])


def toggle_camera(here: Visit) -> None:
    """Shows or hides the camera; the browser asks for permission only once it is shown."""
    here.camera_open = not here.camera_open


def take_samples(here: Visit) -> None:
    """The nine samples, or as many as there are places for."""
    here.tray.add(samples())


def intake(here: Visit) -> None:
    """The three ways a picture comes in."""
    with st.container(key="intake"):
        key = f"drop-{here.drop_round}"
        with st.container(key="drop"):
            st.file_uploader(
                "Drop up to nine pictures here",
                accept_multiple_files=True,
                key=key,
                on_change=take_drop,
                args=(here, key),
            )
        with st.container(key="ways", horizontal=True):
            label = "Close the camera" if here.camera_open else "Use the camera"
            st.button(label, key="camera", icon=":material/photo_camera:", on_click=toggle_camera, args=(here,))
            st.button(
                "Try it with samples",
                key="samples",
                icon=":material/auto_awesome:",
                on_click=take_samples,
                args=(here,),
            )
    if here.camera_open:
        camera(here)
    if here.tray.refused:
        st.html(cards.refused(here.tray.refused, PLACES))


def camera(here: Visit) -> None:
    """One snapshot at a time; each goes to the list."""
    key = f"snapshot-{here.snapshots}"
    with st.container(key="camera-box"):
        st.camera_input(
            "Take a picture", key=key, on_change=take_snapshot, args=(here, key), label_visibility="collapsed"
        )


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
        return absence_words(here)
    if here.asked is None:
        return "The server is there, but it has no model yet. Run: ninefold models build", "stop"
    if here.patience.spent:
        return f"No answer came. The server said: {here.patience.words}", "stop"
    if here.patience.words:
        seconds = max(1, round(here.patience.until - here.clock()))
        return f"{here.patience.words} Asking again in {seconds} s.", "wait"
    return "", "calm"


def absence_words(here: Visit) -> tuple[str, str]:
    """The same while no picture can be answered."""
    if here.status.state == "starting":
        return "The server is getting ready. This takes a few seconds.", "wait"
    if here.status.state == "locked":
        return LOCKED, "stop"
    held = " Your pictures are kept and will be answered as soon as it is back." if here.tray.pictures else ""
    return f"The server is away.{held or ' This page will notice when it is back.'}", "stop"


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
    with st.container(key="grid"):
        for place, picture in enumerate(here.tray.pictures, 1):
            with st.container(key=f"card-{picture.id}", gap=None):
                st.html(cards.top(picture, place))
                st.html(cards.body(here.tray.answer(picture, here.asked), top_k, words))
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
