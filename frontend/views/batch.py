"""The page for a zip of thousands: its upload, its stages, its predictions, and all that came before it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import streamlit as st

from frontend import stages
from frontend.api import VariantName
from frontend.batches import Batch, Batches, Limits, Notice
from frontend.cards import by, notice
from frontend.choosing import choose_model, choose_precision, connection, titles
from frontend.desk import Desk, Trouble
from frontend.settings import Settings
from frontend.uploader import told, uploader
from frontend.words import zone

BUSY_BEAT, CALM_BEAT = 1.5, 5.0
LISTED = 30
_STYLE = Path(__file__).resolve().parents[1] / "assets" / "batch.css"


@st.cache_resource
def calls(api_url: str, public_api_url: str, api_key: str) -> Batches:
    """One set of calls for all visits."""
    return Batches(connection(api_url, api_key), public_api_url)


def desk(settings: Settings) -> Desk:
    """This session's state; the address may name the batch."""
    if "desk" not in st.session_state:
        api = connection(settings.api_url, settings.api_key)
        st.session_state.desk = Desk(api, calls(settings.api_url, settings.public_api_url, settings.api_key))
        st.session_state.desk.selected = st.query_params.get("batch")
    found: Desk = st.session_state.desk
    return found


def where_and_when() -> tuple[tzinfo, datetime]:
    """The person's time zone, and now."""
    return zone(st.context.timezone), datetime.now(UTC)


def heard(here: Desk) -> None:
    """The browser has created, completed or cancelled a batch: look at once, and at that one."""
    said = told()
    if said is None:
        return
    here.uploading = said.batch if said.event == "created" else None
    here.used(said.batch)
    if said.event == "completed":
        here.select(said.batch)
    here.look(afresh=True)
    if said.event == "cancelled" and here.selected == said.batch:
        here.select(None)


def news(here: Desk) -> None:
    """What everybody should know: that the server or the storage is away, and what the operator says."""
    if here.trouble:
        st.html(notice(*trouble_words(here.trouble)))
    if here.listing and here.listing.notice != Notice():
        st.html(stages.notice(here.listing.notice))


def trouble_words(trouble: Trouble) -> tuple[str, str]:
    """(words, kind) of why there is no list."""
    if trouble.kind == "away":
        return "The server is away. This page will notice when it is back; an upload goes on meanwhile.", "stop"
    if trouble.kind == "starting":
        return "The server is getting ready. This takes a few seconds.", "wait"
    if trouble.kind == "storage":
        return f"The storage is away. {trouble.words} This page will notice when it is back.", "stop"
    if trouble.kind == "off":
        return f"Batches are switched off here. {trouble.words}", "stop"
    return f"The list of batches could not be had. The server said: {trouble.words}", "stop"


def heartbeat(here: Desk, drawn: int, batch_id: str | None, first: Iterator[bool]) -> None:
    """The stage line, drawn anew by itself every few seconds; what else has changed draws the whole page anew.

    The only part of the page with a beat of its own: where two of them crossed a run of the whole page, the browser
    was seen to lose what that run had drawn last.
    """
    # The first time is part of the run that draws the page, and that one has looked.
    drawing = next(first, False)
    if not drawing:
        here.look()
    batch = here.current
    if batch and batch.id == batch_id:
        st.html(stages.line(batch) + stages.progress(batch))
    if not drawing and here.changes != drawn:
        st.rerun()


def intake(here: Desk, public_api_url: str, limits: Limits) -> None:
    """The upload, and the list of what came before beside it."""
    with st.container(key="batch-intake"):
        with st.container(key="upload"):
            uploader(public_api_url, limits, here.upload_token(), on_told=lambda: heard(here))
        with st.container(key="batches"):
            listing(here)


def listing(here: Desk) -> None:
    """The batches, newest first; a row is chosen as a whole."""
    batches = here.listing.batches if here.listing else ()
    if not batches:
        if here.listing:
            st.html(stages.empty())
        return
    where, now = where_and_when()
    shown = batches if st.session_state.get("all-batches") else batches[:LISTED]
    for place, batch in enumerate(shown, 1):
        with st.container(key=f"pick-{batch.id}", gap=None):
            st.html(stages.row(batch, selected=batch.id == here.selected, where=where, now=now))
            st.button(f"Show batch {place}", key=f"show-{batch.id}", on_click=here.select, args=(batch.id,))
    if len(batches) > LISTED:
        st.toggle(f"All {len(batches):,} batches", key="all-batches")


def panel(here: Desk, batch: Batch, beat: Callable[[str], None]) -> None:
    """The selected batch: what it is, where it is, and what can be asked of it."""
    where, now = where_and_when()
    with st.container(key="panel"):
        with st.container(key="panel-head", horizontal=True):
            st.html(stages.heading(batch))
            deletion(here, batch)
        st.html(stages.facts(batch, where, now))
        beat(batch.id)
        endings(here, batch)
        if here.words:
            st.html(notice(here.words, "stop"))
        if here.needs:
            st.button(
                "Preprocess for this model",
                key="preprocess-for",
                type="primary",
                on_click=here.preprocess,
                args=(here.needs,),
            )
        if batch.predictable:
            prediction(here, batch)


def endings(here: Desk, batch: Batch) -> None:
    """How it ended where it did not end well, and the way on."""
    if batch.state == "created" and batch.id != here.uploading:
        words = "The upload is not complete. The browser it began in goes on with it when the same file is chosen."
        st.html(notice(words, "wait"))
    if batch.state == "expired":
        st.html(notice("What there was of this batch has expired and is removed.", "wait"))
    if batch.problem:
        st.html(stages.problem(batch.problem.code, batch.problem.message, "This batch has failed"))
    for run in batch.predictions:
        if run.problem and run.state == "failed":
            named = f"The prediction by {run.variant.model} {run.variant.precision} has failed"
            st.html(stages.problem(run.problem.code, run.problem.message, named))
    if batch.restartable:
        st.button(
            "Start again", key="restart", type="primary", icon=":material/replay:", on_click=here.preprocess, args=()
        )


def prediction(here: Desk, batch: Batch) -> None:
    """*Batch predict*, with the choice of the variant where there is one."""
    here.look_at_models()
    with st.container(key="predict", horizontal=True, vertical_alignment="bottom"):
        variant = choose_variant(here)
        there = variant is not None and any(run.variant == variant for run in batch.finished)
        st.button(
            "Batch predict", key="batch-predict", type="primary", icon=":material/play_arrow:",
            disabled=variant is None or there, on_click=here.predict, args=(variant,),
        )  # fmt: skip
        if there:
            st.html('<div class="nf-small">The results of this variant are below.</div>')
    if here.models == ():
        st.html(notice("The server is there, but it has no model yet. Run: ninefold models build", "stop"))


def choose_variant(here: Desk) -> VariantName | None:
    """The server's default, or the chosen one where there are several."""
    models = here.models or ()
    model = choose_model(models, "batch-model") if len(models) > 1 else next(iter(models), None)
    variant = choose_precision(model, "batch-precision") if model else None
    if len(models) == 1:
        st.html(by(titles(models), variant), width="content")
    return variant


def deletion(here: Desk, batch: Batch) -> None:
    """Behind a second press."""
    with st.popover("Delete", icon=":material/delete:", key=f"delete-{batch.id}"):
        st.html(
            "<div class='nf-sure'>Delete this batch, its zip and its results? A job that runs for it is stopped. "
            "This cannot be undone.</div>"
        )
        st.button("Delete for good", key="delete-sure", type="primary", on_click=here.delete)


def main() -> None:
    """One run: look, then draw everything from what was seen."""
    settings = Settings.read()
    here = desk(settings)
    here.look()
    named = st.query_params.get("batch")
    here.select_some()
    st.html(_STYLE)
    drawn = here.changes
    limits = here.listing.limits if here.listing else Limits()
    st.html(stages.title(limits))
    news(here)
    if here.trouble is None or here.trouble.kind != "off":
        intake(here, settings.public_api_url, limits)
    pulse = st.fragment(heartbeat, run_every=BUSY_BEAT if here.moving else CALM_BEAT)
    batch = here.current
    if batch is None:
        pulse(here, drawn, None, iter([True]))
    if batch:
        panel(here, batch, lambda batch_id: pulse(here, drawn, batch_id, iter([True])))
        if batch.finished:
            # Tables and charts take seconds to import, once: whoever uploads does not wait for them.
            from frontend.explorer import explore  # noqa: PLC0415

            explore(here.batches, batch)
    elif here.selected and here.listing:
        st.html(notice("There is no batch of this name any more.", "wait"))
    if here.selected and named != here.selected:
        st.query_params["batch"] = here.selected


main()
