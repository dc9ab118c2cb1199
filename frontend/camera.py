"""The camera in the browser: its frames go straight to the server's WebSocket, and never through this process."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from frontend.api import VariantName
from frontend.live import Offer

__all__ = ["KEY", "camera"]

KEY = "live"
_PARTS = Path(__file__).resolve().parent / "components"


def _source(*names: str) -> str:
    return "\n".join((_PARTS / name).read_text(encoding="utf-8") for name in names)


# Once, at import: a second registration under the same name is a warning in the log.
_component = st.components.v2.component(
    "ninefold_live",
    html=_source("live.html"),
    css=_source("live.css"),
    js=_source("camera.js", "stream.js", "drawing.js", "live.js"),
)


def camera(public_api_url: str, token: str, variant: VariantName | None, title: str, offer: Offer) -> None:
    """Draws it. `title`: what the model is called; without a variant nothing can be started."""
    data = {
        "api": public_api_url,
        "token": token or None,
        "model": variant.model if variant else None,
        "precision": variant.precision if variant else None,
        "title": title,
        "modes": dict(offer.modes),
        "filter": offer.filter,
    }
    _component(key=KEY, data=data)
