"""A window that shows the frames: by tkinter and Pillow, for OpenCV without a display of its own has none."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from PIL import Image

from cli.live.source import Frame

__all__ = ["NoScreen", "Screen"]


class NoScreen(Exception):
    """Nothing can be shown here, or not any more; the message says why, and what to do."""


class Screen:
    """A window with `title`; closed by its button, Escape or q. A file (`pace`: its frames a second) is shown no
    faster than it was taken. Raises NoScreen."""

    stage = "show"

    def __init__(self, title: str, pace: float | None = None) -> None:
        try:
            import tkinter  # noqa: PLC0415  # not every Python has it, and a film needs none

            from PIL import ImageTk  # noqa: PLC0415
        except ImportError as error:
            raise NoScreen(f"this Python has no tkinter ({error}): {_INSTEAD}") from error
        try:
            root = tkinter.Tk()
        except tkinter.TclError as error:
            raise NoScreen(f"there is no display here ({error}): {_INSTEAD}") from error
        self.closed = False
        self._tk_error: type[Exception] = tkinter.TclError
        self._photo = ImageTk.PhotoImage
        self._root: Any = root
        self._shown: Any = None
        self._label = tkinter.Label(root, borderwidth=0)
        self._label.pack()
        self._pace, self._due = pace, 0.0
        root.title(title)
        root.protocol("WM_DELETE_WINDOW", self._close)
        for key in ("<Escape>", "q"):
            root.bind(key, self._close)

    def put(self, frame: Frame) -> None:
        """Shows the frame, when its time has come. Raises NoScreen."""
        if self._pace:
            while (early := self._due - time.perf_counter()) > 0 and not self.closed:
                time.sleep(min(early, 0.02))
                self.idle()
            self._due = max(self._due, time.perf_counter()) + 1 / self._pace
        if self.closed:
            return
        with self._while_there_is_a_display():
            # Tk shows it only as long as somebody keeps it.
            self._shown = self._photo(Image.fromarray(frame.rgb), master=self._root)
            self._label.configure(image=self._shown)
        self.idle()

    def idle(self) -> None:
        """Lets the window live while the next frame is waited for. Raises NoScreen."""
        if not self.closed:
            with self._while_there_is_a_display():
                self._root.update()

    def finish(self) -> None:
        """Closes the window."""
        if not self.closed:
            self._close()

    def _close(self, *_: object) -> None:
        self.closed = True
        with suppress(self._tk_error):
            self._root.destroy()

    @contextmanager
    def _while_there_is_a_display(self) -> Iterator[None]:
        try:
            yield
        except self._tk_error as error:
            self.closed = True
            raise NoScreen(f"the display has gone ({error}); {_INSTEAD}") from error


_INSTEAD = "write a film in place of it: -o out.mp4"
