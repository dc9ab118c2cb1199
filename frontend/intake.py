"""How pictures come in: drop zone, camera, samples. The same list of pictures on every page of a session."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor

import streamlit as st

from frontend import cards
from frontend.choosing import connection
from frontend.pictures import PLACES, Tray
from frontend.samples import samples
from frontend.settings import Settings
from frontend.visit import Visit

__all__ = ["intake", "visit"]


@st.cache_resource
def _workers() -> Executor:
    """The threads in which all visits' requests wait."""
    return ThreadPoolExecutor(32, thread_name_prefix="ask")


def visit() -> Visit:
    """This session's state."""
    if "visit" not in st.session_state:
        settings = Settings.read()
        st.session_state.visit = Visit(
            connection(settings.api_url, settings.api_key), Tray(settings.max_image_bytes), _workers()
        )
    found: Visit = st.session_state.visit
    return found


def intake(here: Visit) -> None:
    """The three ways a picture comes in."""
    with st.container(key="intake"):
        key = f"drop-{here.drop_round}"
        with st.container(key="drop"):
            st.file_uploader(
                "Drop up to nine pictures here",
                accept_multiple_files=True,
                key=key,
                on_change=_take_drop,
                args=(here, key),
            )
        with st.container(key="ways", horizontal=True):
            label = "Close the camera" if here.camera_open else "Use the camera"
            st.button(label, key="camera", icon=":material/photo_camera:", on_click=_toggle_camera, args=(here,))
            st.button(
                "Try it with samples",
                key="samples",
                icon=":material/auto_awesome:",
                on_click=_take_samples,
                args=(here,),
            )
    if here.camera_open:
        _camera(here)
    if here.tray.refused:
        st.html(cards.refused(here.tray.refused, PLACES))


def _take_drop(here: Visit, key: str) -> None:
    """Moves files from the drop zone to the list; a new key gives the person an empty drop zone again."""
    here.tray.add([(file.name, file.getvalue()) for file in st.session_state[key]])
    here.drop_round += 1


def _take_snapshot(here: Visit, key: str) -> None:
    """Moves a snapshot to the list and readies the camera for the next."""
    if st.session_state[key] is not None:
        here.snapshots += 1
        here.tray.add([(f"camera-{here.snapshots}.jpg", st.session_state[key].getvalue())])


def _toggle_camera(here: Visit) -> None:
    """Shows or hides the camera; the browser asks for permission only once it is shown."""
    here.camera_open = not here.camera_open


def _take_samples(here: Visit) -> None:
    """The nine samples, or as many as there are places for."""
    here.tray.add(samples())


def _camera(here: Visit) -> None:
    """One snapshot at a time; each goes to the list."""
    key = f"snapshot-{here.snapshots}"
    with st.container(key="camera-box"):
        st.camera_input(
            "Take a picture", key=key, on_change=_take_snapshot, args=(here, key), label_visibility="collapsed"
        )
