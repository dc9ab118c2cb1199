"""Where frames come from: a video file, every frame of it; a camera or a stream, of which the newest frame wins.

OpenCV reads all of them. Its frames are BGR; from here on they are RGB.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # what goes wrong is told by us; read when OpenCV is imported

import cv2
import numpy as np

from contract.transform import Pixels

__all__ = ["Capture", "File", "Frame", "Newest", "NoSource", "Source", "open_source"]

OPEN_SECONDS, READ_SECONDS = 10, 10
"""How long a stream may take to begin, and to give its next frame."""
USUAL_FPS, MOST_FPS = 30.0, 240.0
_LOOSE_FRAMES, _LOOSE_SHARE = 2, 0.01
"""How far a file's own count may be off."""


class NoSource(Exception):
    """What was named gives no frames; the message says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Frame:
    """`rgb`: uint8[H,W,3]. `number`: its place among all that came, from 1. `came`: of time.perf_counter, when it had
    been read, which took `read_seconds`."""

    number: int
    rgb: Pixels
    came: float
    read_seconds: float


class Capture(Protocol):
    """What is needed of cv2.VideoCapture."""

    def read(self) -> tuple[bool, Any]:
        """Whether there was a frame, and uint8[H,W,3], BGR."""

    def get(self, what: int) -> float:
        """One of OpenCV's properties."""

    def release(self) -> None:
        """Lets go of it."""


class Source(Protocol):
    """Frames, one after the other. `total`: how many it says it has."""

    fps: float
    total: int | None
    dropped: int

    @property
    def missing(self) -> int:
        """How many of them did not come before its end."""

    @property
    def live(self) -> bool:
        """Whether frames come when they come, and the newest wins."""

    @property
    def over(self) -> bool:
        """Whether there will be no other frame."""

    def take(self) -> Frame | None:
        """The next frame. None: none is there, now or ever."""

    def close(self) -> None:
        """Lets go of what frames are read from."""


class File:
    """Every frame of a video, read when it is asked for."""

    live = False

    def __init__(self, capture: Capture, fps: float = USUAL_FPS, total: int | None = None) -> None:
        self.fps, self.total, self.dropped = fps, total, 0
        self.over = False
        self._capture = capture
        self._read, self._reached = 0, 0.0

    @property
    def missing(self) -> int:
        """0 before the end, and where `total` may just be a little wrong. Of frames at uneven times a container's count
        is a guess: then the time that was reached counts."""
        if not self.over or not self.total:
            return 0
        missing = self.total - max(self._read, round(self._reached * self.fps) + 1)
        return missing if missing > max(_LOOSE_FRAMES, _LOOSE_SHARE * self.total) else 0

    def take(self) -> Frame | None:
        """The next frame, or None at the end."""
        begun = time.perf_counter()
        rgb = None if self.over else _rgb(self._capture)
        if rgb is None:
            self.over = True
            return None
        self._read += 1
        if self.total:
            self._reached = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        came = time.perf_counter()
        return Frame(self._read, rgb, came, came - begun)

    def close(self) -> None:
        """Lets go of the file."""
        self._capture.release()


class Newest:
    """A camera or a stream: a thread reads all that comes and keeps the newest. `told` is called when there is news."""

    live, missing = True, 0

    def __init__(self, capture: Capture, fps: float = USUAL_FPS, told: Callable[[], object] = lambda: None) -> None:
        self.fps, self.dropped = fps, 0
        self.total: int | None = None
        self._capture = capture
        self._told = told
        self._came = 0
        self._newest: Frame | None = None
        self._ended = False
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name="camera", daemon=True)
        self._reader.start()

    @property
    def over(self) -> bool:
        """Whether it has ended and all was taken."""
        with self._lock:
            return self._ended and self._newest is None

    def take(self) -> Frame | None:
        """The newest frame that has not been taken."""
        with self._lock:
            frame, self._newest = self._newest, None
        return frame

    def close(self) -> None:
        """Ends the reading. A camera that hangs in it is left to the end of the process."""
        self._closing.set()
        self._reader.join(1)
        if not self._reader.is_alive():
            self._capture.release()

    def _read(self) -> None:
        try:
            while not self._closing.is_set() and self._read_one():
                self._told()
        finally:  # also where OpenCV raises: nobody would wait for another frame in vain
            with self._lock:
                self._ended = True
            self._told()

    def _read_one(self) -> bool:
        """Whether there was one."""
        begun = time.perf_counter()
        rgb = _rgb(self._capture)
        if rgb is None:
            return False
        with self._lock:
            self.dropped += self._newest is not None
            self._came += 1
            came = time.perf_counter()
            self._newest = Frame(self._came, rgb, came, came - begun)
        return True


def open_source(name: str, told: Callable[[], object] = lambda: None) -> Source:
    """By what `name` is: digits are a camera, what has :// a stream, all else a file. Raises NoSource."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    if name.isascii() and name.isdecimal():
        return _camera(int(name), told)
    return _stream(name, told) if "://" in name else _file(Path(name))


def _camera(index: int, told: Callable[[], object]) -> Source:
    capture = cv2.VideoCapture(index) if index < 1000 else None
    if capture is None or not capture.isOpened():
        there = sorted(path.name.removeprefix("video") for path in Path("/dev").glob("video*"))
        seen = f" This machine has {', '.join(there)}." if there else ""
        raise NoSource(f"there is no camera {index}, or another program has it.{seen} 0 is the first")
    return Newest(capture, _fps(capture), told)


def _stream(name: str, told: Callable[[], object]) -> Source:
    wait = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, 1000 * OPEN_SECONDS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, 1000 * READ_SECONDS]
    capture = cv2.VideoCapture(name, cv2.CAP_FFMPEG, wait)
    if not capture.isOpened():
        raise NoSource(f"{public(name)} gives no video: nobody answers there, or what comes is none that OpenCV reads")
    # A film that lies on a server knows how long it is: it does not run away, and is wanted whole.
    total = _total(capture)
    return File(capture, _fps(capture), total) if total else Newest(capture, _fps(capture), told)


def _file(path: Path) -> Source:
    if not path.exists():
        raise NoSource(f"there is no {path}. A camera is named by its number: 0 is the first")
    if path.is_dir():
        raise NoSource(f"{path} is a folder. Name a video, a camera's number or a stream's address")
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    if not capture.isOpened():
        raise NoSource(f"{path} is no video that OpenCV reads")
    return File(capture, _fps(capture), _total(capture))


def public(name: str) -> str:
    """An address without a name and a password in it; another source's name as it is."""
    if "://" not in name:
        return name
    parts = urlsplit(name)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _fps(capture: cv2.VideoCapture) -> float:
    said = capture.get(cv2.CAP_PROP_FPS)
    return said if math.isfinite(said) and 0 < said <= MOST_FPS else USUAL_FPS


def _total(capture: cv2.VideoCapture) -> int | None:
    said = capture.get(cv2.CAP_PROP_FRAME_COUNT)
    return int(said) if math.isfinite(said) and said > 0 else None


def _rgb(capture: Capture) -> Pixels | None:
    read, bgr = capture.read()
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8) if read else None
