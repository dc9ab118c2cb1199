"""An mp4 of what was drawn. It has another name until it is whole, so that an abort leaves a playable file, or none."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import cv2
import numpy as np

from cli.live.source import Frame
from contract.transform import Pixels

__all__ = ["CODEC", "Film", "NoFilm"]

CODEC = "mp4v"
"""MPEG-4 Part 2: what OpenCV's own ffmpeg always has. H.264 it has not, for want of a licence."""
_LONGEST_GAP_SECONDS = 10.0
"""As long as a stream may pause; who was halted for an hour wants no hour of one frame."""


class NoFilm(Exception):
    """The film cannot be written; the message says why, and what to do."""


class Film:
    """`target`: an .mp4. `fps`: of the source. Frames of a camera (`live`) are repeated until the next one's time, or
    left out where several come in the time of one, so that a film of a minute lasts a minute; a pause of more than ten
    seconds is cut to that. Raises NoFilm where nothing could be written there."""

    stage = "write"
    closed = False

    def __init__(self, target: Path, fps: float, live: bool, force: bool = False) -> None:
        check(target, force)
        self._target, self._fps, self._live, self._force = target, fps, live, force
        self._part: Path | None = None
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)
        self._began = 0.0
        self._last: Pixels | None = None
        self.frames = 0

    def put(self, frame: Frame) -> None:
        """The next frame. Raises NoFilm."""
        bgr = np.asarray(cv2.cvtColor(frame.rgb, cv2.COLOR_RGB2BGR), dtype=np.uint8)
        if self._writer is None:
            self._open(bgr.shape[1], bgr.shape[0])
            self._began = frame.came
        if (bgr.shape[1], bgr.shape[0]) != self._size:  # a stream may change it; OpenCV would leave such frames out
            bgr = np.asarray(cv2.resize(bgr, self._size), dtype=np.uint8)
        if self._live and self._last is not None:
            gap = self._gap(frame.came)
            for _ in range(gap):
                self._write(self._last)
            if gap < 0:  # its place is taken; the next one may have a gap to fill with it
                self._last = bgr
                return
        self._last = bgr
        self._write(bgr)

    def idle(self) -> None:
        """Nothing to do while the next frame is waited for."""

    def finish(self) -> str | None:
        """Ends the film and gives it its name; what was written, in words (None: nothing was). Raises NoFilm."""
        if self._writer is None or self._part is None:
            if self._part is not None:  # it was named, and could not be begun
                self._part.unlink(missing_ok=True)
            return None
        self._writer.release()
        self._writer = None
        try:
            self._check_playable(self._part)
            if self._target.exists() and not self._force:
                kept = self._part
                self._part = None
                raise NoFilm(f"{self._target} has come into being meanwhile, and is left alone; the film is {kept}")
            self._part.chmod(0o666 & ~_umask())
            self._part.replace(self._target)
        except OSError as error:
            raise NoFilm(f"{self._target} cannot be written: {error.strerror or error}") from error
        finally:
            if self._part is not None:
                self._part.unlink(missing_ok=True)
        return f"{self._target} ({self.frames:,} frames)"

    def _gap(self, came: float) -> int:
        """How many frames are missing before one that came then. Negative: so many are there already."""
        gap, most = round((came - self._began) * self._fps) - self.frames, round(_LONGEST_GAP_SECONDS * self._fps)
        if gap > most:
            self._began += (gap - most) / self._fps
        return min(gap, most)

    def _open(self, width: int, height: int) -> None:
        try:
            handle, name = tempfile.mkstemp(".mp4", f".{self._target.stem}-", self._target.parent)
        except OSError as error:
            raise NoFilm(f"{self._target} cannot be written: {error.strerror or error}") from error
        os.close(handle)
        self._part, self._size = Path(name), (width, height)
        self._writer = cv2.VideoWriter(name, cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*CODEC), self._fps, self._size)
        if not self._writer.isOpened():
            self._part.unlink(missing_ok=True)
            self._writer = None
            raise NoFilm(
                f"this OpenCV writes no {CODEC} of {width}×{height} at {self._fps:g} frames a second. "
                "The wheel of requirements/live.txt has that codec; leave -o out to see the frames on the screen"
            )

    def _write(self, bgr: Pixels) -> None:
        assert self._writer is not None  # noqa: S101  # `put` has opened it
        self._writer.write(bgr)
        self.frames += 1

    def _check_playable(self, part: Path) -> None:
        """OpenCV says nothing of a disk that is full: what cannot be read again is no film."""
        capture = cv2.VideoCapture(str(part), cv2.CAP_FFMPEG)
        playable = capture.isOpened() and capture.get(cv2.CAP_PROP_FRAME_COUNT) >= self.frames
        capture.release()
        if not playable:
            raise OSError(errno.EIO, "what was written cannot be played, and was removed; there may be no space left")


def check(target: Path, force: bool) -> None:
    """Raises NoFilm where `target` could not be written, for a reason that is known before."""
    if target.suffix.lower() != ".mp4":
        raise NoFilm(f"{target} is to be an mp4: end its name in .mp4")
    if target.is_dir():
        raise NoFilm(f"{target} is a folder. Name the file for the film")
    if not target.parent.is_dir():
        raise NoFilm(f"there is no folder {target.parent} for {target.name}")
    if target.exists() and not force:
        raise NoFilm(f"{target} is there already. Name another file, or say --force to write over it")
    if not os.access(target.parent, os.W_OK):
        raise NoFilm(f"{target.parent} cannot be written to. Name another folder")


def _umask() -> int:
    """That of this process: temporary files are for their owner alone, and films are not."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
