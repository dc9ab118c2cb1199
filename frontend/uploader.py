"""The upload in the browser: it sends the zip straight to the storage, and tells this process the batch's id alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from frontend.batches import Limits

__all__ = ["KEY", "Told", "told", "uploader"]

KEY = "uploader"
_PARTS = Path(__file__).resolve().parent / "components"


def _source(*names: str) -> str:
    return "\n".join((_PARTS / name).read_text(encoding="utf-8") for name in names)


# Once, at import: a second registration under the same name is a warning in the log.
_component = st.components.v2.component(
    "ninefold_uploader",
    html=_source("uploader.html"),
    css=_source("uploader.css"),
    js=_source("transfer.js", "uploader.js"),
)


@dataclass(frozen=True)
class Told:
    """What the browser says has happened to a batch: created, completed or cancelled."""

    event: str
    batch: str


def uploader(public_api_url: str, limits: Limits, token: str, on_told: Callable[[], None]) -> None:
    """Draws it; `on_told` is called when there is something to read by `told`. `token`: for the next zip, or empty."""
    data = {"api": public_api_url, "token": token or None, "max_bytes": limits.zip_bytes, "max_entries": limits.entries}
    _component(key=KEY, data=data, on_told_change=on_told)


def told() -> Told | None:
    """The last word of the browser. It comes from outside: what has another shape is nothing."""
    state = st.session_state.get(KEY)
    said = state.get("told") if state else None
    if not isinstance(said, dict) or not isinstance(said.get("id"), str):
        return None
    return Told(str(said.get("event")), said["id"])
