"""The results of one prediction, to look around in: filters and frequent classes here, the rows there."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from frontend import gallery
from frontend.api import ApiError, VariantName
from frontend.batches import Batch, Batches, PredictionRun
from frontend.cards import by, notice
from frontend.rows import ORDERS, Found, Rows, Wanted, read_rows
from frontend.stages import downloads
from frontend.words import count

__all__ = ["explore"]

A_PAGE = {"Pictures": 40, "Table": 25}
_STATUS_WORDS = {"ok": "Answered", "error": "Errors", "skipped": "Skipped"}


@st.cache_resource(max_entries=3, ttl=7200, show_spinner="Reading the results …")
def _rows(_batches: Batches, batch: str, variant: VariantName, stamp: str) -> Rows:  # noqa: ARG001 - part of the key
    """Shared between visits and never changed. `stamp`: tells a batch from a later one under the same id."""
    with _batches.rows(batch, variant) as pieces:
        return read_rows(pieces)


@st.fragment
def explore(batches: Batches, batch: Batch) -> None:
    """The whole of it; what is touched here draws nothing else of the page anew."""
    with st.container(key="results-head", horizontal=True, vertical_alignment="bottom"):
        st.html("<h2 class='nf-head'>Results</h2>", width="content")
        run = _choose_run(batch)
        forms = {form: batches.download(batch.id, run.variant, form) for form in ("json", "jsonl", "csv")}
        st.html(downloads(forms), width="content")
    try:
        rows = _rows(batches, batch.id, run.variant, f"{batch.created} {batch.size_bytes} {run.counts}")
    except (ApiError, ValueError) as error:
        words = error.message if isinstance(error, ApiError) else "The results could not be read."
        st.html(notice(words, "stop"))
        st.button("Read them again", key="results-again")
        return
    with st.container(key="explorer"):
        with st.container(key="filters"):
            wanted = _wanted(batch, rows)
            found = rows.find(wanted)
            _histogram(found)
        with st.container(key="found"):
            _show(found, wanted, batch.id, batches.pixels(batch.id), by({}, run.variant))


def _choose_run(batch: Batch) -> PredictionRun:
    """The newest prediction, or the one that is chosen among several."""
    names = {f"{run.variant.model} · {run.variant.precision}": run for run in batch.finished}
    chosen = list(names)[-1]
    if len(names) > 1:
        chosen = st.selectbox("Results of", list(names), index=len(names) - 1, key=f"run-{batch.id}", width=260)
    return names[chosen]


def _wanted(batch: Batch, rows: Rows) -> Wanted:
    """The filters. Their keys hold the batch's id: another batch starts without any."""
    labels, statuses = rows.by_label, rows.by_status
    there = [status for status, number in statuses.items() if number]
    text = st.text_input("Name contains", key=f"text-{batch.id}", placeholder="Part of a file's name")
    chosen = st.multiselect(
        "Classes", list(labels), key=f"labels-{batch.id}", placeholder="All classes",
        format_func=lambda label: f"{label} ({labels.get(label, 0):,})",
    )  # fmt: skip
    least = st.slider("At least this certain", 0, 100, 0, 5, format="%d%%", key=f"least-{batch.id}")
    kept: list[str] = []
    if len(there) > 1:
        kept = st.pills(
            "Status", there, selection_mode="multi", key=f"status-{batch.id}",
            format_func=lambda status: f"{_STATUS_WORDS[status]} {statuses.get(status, 0):,}",
        )  # fmt: skip
    order = st.selectbox("Order", list(ORDERS), key=f"order-{batch.id}")
    return Wanted(tuple(chosen), tuple(kept), least / 100, text.strip(), order)


def _histogram(found: Found) -> None:
    """The most frequent classes of what is found."""
    counts = found.by_label()
    if counts:
        st.html(f'<div class="nf-small">Most frequent of {len(counts):,} classes</div>{gallery.frequent(counts)}')


def _show(found: Found, wanted: Wanted, batch: str, pixels: Callable[[int], str], who: str) -> None:
    """A page of the rows, and the way to the next. `who`: the variant whose answers they are, as HTML."""
    with st.container(key="found-head", horizontal=True, vertical_alignment="center"):
        here = st.container(width="stretch")
        view = st.segmented_control(
            "View", list(A_PAGE), default="Pictures", required=True, key="view", label_visibility="collapsed"
        )
    most, total = A_PAGE[view], len(found)
    pages = max(1, -(-total // most))
    # Other filters begin at their first page.
    place = st.session_state.get("place")
    page = min(place[1], pages) if place and place[0] == (wanted, view, batch) else 1
    first, last = (page - 1) * most, min(page * most, total)
    among = f"{first + 1:,}–{last:,} of {count(total, 'file')}" if total else "Nothing fits the filters"
    here.html(f'<div class="nf-whose"><div class="nf-among" role="status">{among}</div>{who}</div>')
    shown = found.page(first, last)
    if shown:
        st.html(gallery.pictures(shown, pixels) if view == "Pictures" else gallery.table(shown, pixels))
    if pages > 1:
        _turn((wanted, view, batch), page, pages)


def _turn(among: object, page: int, pages: int) -> None:
    def go(number: int) -> None:
        st.session_state.place = (among, number)

    with st.container(key="turn", horizontal=True, horizontal_alignment="center", vertical_alignment="center"):
        st.button("Back", key="page-back", disabled=page == 1, on_click=go, args=(page - 1,))
        st.html(f'<div class="nf-small">Page {page:,} of {pages:,}</div>')
        st.button("Next", key="page-next", disabled=page == pages, on_click=go, args=(page + 1,))
