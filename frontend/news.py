"""What a person should know about the server while pictures are asked for, as (words, kind) of a notice."""

from __future__ import annotations

from frontend.api import Status
from frontend.visit import Patience

__all__ = ["NO_MODEL", "absence", "patience_words"]

NO_MODEL = ("The server is there, but it has no model yet. Run: ninefold models build", "stop")
_LOCKED = (
    "The server wants a key that this page does not have. Whoever runs it: set NINEFOLD_API_KEY to one of its keys."
)


def absence(status: Status, held: str = "") -> tuple[str, str]:
    """Why nothing can be answered; no words where the server is ready. `held`: what is kept until it is back."""
    if status.state == "ready":
        return "", "calm"
    if status.state == "starting":
        return "The server is getting ready. This takes a few seconds.", "wait"
    if status.state == "locked":
        return _LOCKED, "stop"
    return f"The server is away. {held or 'This page will notice when it is back.'}", "stop"


def patience_words(patience: Patience, now: float) -> tuple[str, str]:
    """That it will be asked again, or that only the person may; no words where nothing has failed."""
    if patience.spent:
        return f"No answer came. The server said: {patience.words}", "stop"
    if patience.words:
        return f"{patience.words} Asking again in {max(1, round(patience.until - now))} s.", "wait"
    return "", "calm"
