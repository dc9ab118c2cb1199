"""The page for a camera: what it sees, as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import streamlit as st

from frontend import cards
from frontend.api import Model, VariantName
from frontend.camera import camera
from frontend.choosing import choose_model, choose_precision, connection
from frontend.intake import visit
from frontend.live import Live, title
from frontend.news import NO_MODEL, absence
from frontend.settings import Settings
from frontend.tokens import Tokens
from frontend.visit import Visit

BEAT = 3.0


def live(settings: Settings) -> Live:
    """This session's state."""
    if "live-state" not in st.session_state:
        api = connection(settings.api_url, settings.api_key)
        st.session_state["live-state"] = Live(api, Tokens(api))
    found: Live = st.session_state["live-state"]
    return found


def origin() -> str:
    """This page's, as the browser will name it to the server; empty where there is no browser."""
    here = urlsplit(st.context.url or "")
    return f"{here.scheme}://{here.netloc}" if here.netloc else ""


def look(here: Live, seen: Visit) -> None:
    """At the server, and then at what it offers."""
    seen.look()
    if seen.status.state == "ready":
        here.look(origin())


def news(here: Live, seen: Visit) -> tuple[str, str]:
    """(words, kind) of what a person should know about the server; no words where all is well."""
    if seen.status.state != "ready":
        return absence(seen.status)
    if not any(model.ready for model in seen.status.models):
        return NO_MODEL
    return here.offer.closed, "stop"


def heartbeat(here: Live, seen: Visit, drawn: tuple[int, int], first: Iterator[bool]) -> None:
    """Runs by itself every few seconds: sees the server go and come, and when the browser needs another token."""
    words, kind = news(here, seen)
    if words:
        st.html(cards.notice(words, kind))
    # The first time is part of the run that draws the page, and that one has looked.
    if next(first, False):
        return
    look(here, seen)
    if (here.changes, seen.changes) != drawn:
        st.rerun()


def choose(seen: Visit) -> tuple[Model | None, VariantName | None]:
    """The model and its precision."""
    ready = [model for model in seen.status.models if model.ready]
    with st.container(key="live-controls", horizontal=True, vertical_alignment="bottom"):
        model = choose_model(ready)
        variant = choose_precision(model) if model else None
    if model and variant:
        st.html(cards.who_answers(model, variant))
    return model, variant


def main() -> None:
    """One run: look, then draw everything from what was seen."""
    settings = Settings.read()
    here, seen = live(settings), visit()
    look(here, seen)
    st.html(title())
    above = st.container()
    model, variant = choose(seen)
    camera(settings.public_api_url, here.token(), variant, model.title if model else "", here.offer)
    with above:  # last: a token that was had above is no change
        drawn = (here.changes, seen.changes)
        st.fragment(heartbeat, run_every=BEAT)(here, seen, drawn, iter([True]))


main()
