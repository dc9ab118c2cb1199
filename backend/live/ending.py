"""Why a live connection ends: the code it is closed by, a word for the metrics, words for whoever sent the frames."""

from __future__ import annotations

_REASON_BYTES = 123
"""A close frame holds no more."""


class Ended(Exception):
    """The end of a session. `code`: that of RFC 6455, or None where the client has gone by itself."""

    def __init__(self, code: int | None, why: str, words: str = "") -> None:
        super().__init__(words)
        self.code = code
        self.why = why
        self.words = words

    @property
    def reason(self) -> str:
        """What the close frame says: the word, then the words."""
        return f"{self.why}: {self.words}".encode()[:_REASON_BYTES].decode(errors="ignore")


def gone() -> Ended:
    """The client closed the connection, or it broke."""
    return Ended(None, "gone")


def draining() -> Ended:
    """The server is about to stop."""
    return Ended(1012, "draining", "The server is about to stop. Connect again: another one answers.")


def revoked() -> Ended:
    """Its key is none any more."""
    return Ended(1008, "unauthorized", "The key that this connection was opened by was revoked.")


def idle(seconds: float) -> Ended:
    """No frame came."""
    return Ended(1008, "idle", f"No frame came for {seconds:g} s.")


def not_binary() -> Ended:
    """Text came."""
    return Ended(1003, "not_binary", "Send each frame as one binary message: the bytes of a JPEG.")


def too_often(frames_a_second: float, seconds: float) -> Ended:
    """Far more frames came than are answered."""
    return Ended(
        1008,
        "rate",
        f"More than {frames_a_second:g} frames a second came for {seconds:g} s. Send fewer, or smaller ones.",
    )


def slow_reader(seconds: float) -> Ended:
    """Answers are not read."""
    return Ended(1008, "slow_reader", f"An answer was not read for {seconds:g} s. Read faster, or ask for less.")


def failed(code: str, message: str) -> Ended:
    """No frame can be answered here."""
    return Ended(1011, code, message)
