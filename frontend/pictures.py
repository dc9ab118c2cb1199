"""The pictures of one visit: at most nine, each with the answers it already has, so that nothing is asked twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from threading import Lock

from frontend.api import Answer, Problem, VariantName
from frontend.thumbnails import thumbnail

__all__ = ["PLACES", "Picture", "Tray", "plain_name"]

PLACES = 9
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Picture:
    """A picture as it was given. `problem` is set, and `data` empty, where it must not be sent at all."""

    id: int
    name: str
    data: bytes
    thumbnail: bytes | None
    problem: Problem | None = None


@dataclass
class Tray:
    """The list behind the cards, and what was not taken into it at the last attempt. Safe between threads."""

    max_bytes: int
    pictures: list[Picture] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    _answers: dict[tuple[int, VariantName], Answer] = field(default_factory=dict)
    _lock: Lock = field(default_factory=Lock, repr=False)

    @property
    def full(self) -> bool:
        """Whether all nine places are taken."""
        return len(self.pictures) >= PLACES

    def add(self, files: Iterable[tuple[str, bytes]]) -> None:
        """Takes (name, bytes) while there are places; the names of the rest are in `refused` afterwards."""
        with self._lock:
            self.refused = []
            for name, data in files:
                if self.full:
                    self.refused.append(plain_name(name))
                else:
                    self.pictures.append(self._picture(plain_name(name), data))

    def remove(self, picture_id: int) -> None:
        """Forgets one picture and its answers; the others keep theirs."""
        with self._lock:
            self.refused = []
            self.pictures = [picture for picture in self.pictures if picture.id != picture_id]
            self._answers = {key: answer for key, answer in self._answers.items() if key[0] != picture_id}

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            self.pictures, self.refused, self._answers = [], [], {}

    def answer(self, picture: Picture, variant: VariantName | None) -> Answer | None:
        """What is known of a picture from this variant; None while it waits."""
        if picture.problem:
            return Answer(picture.name, problem=picture.problem)
        return self._answers.get((picture.id, variant)) if variant else None

    def waiting(self, variant: VariantName) -> list[Picture]:
        """The pictures this variant has not answered yet."""
        return [picture for picture in self.pictures if self.answer(picture, variant) is None]

    def keep(self, variant: VariantName, pictures: Sequence[Picture], answers: Sequence[Answer]) -> None:
        """Stores the answers, one for each picture; what was removed while it was asked for stays forgotten."""
        pairs = list(zip(pictures, answers, strict=True))
        with self._lock:
            here = {picture.id for picture in self.pictures}
            self._answers |= {(picture.id, variant): answer for picture, answer in pairs if picture.id in here}

    def _picture(self, name: str, data: bytes) -> Picture:
        if len(data) > self.max_bytes:
            return Picture(next(_numbers), name, b"", None, _too_large(len(data), self.max_bytes))
        return Picture(next(_numbers), name, data, thumbnail(data))


def plain_name(name: str) -> str:
    """The last component of a path of any system, without control characters."""
    last = name.replace("\\", "/").rstrip("/").rpartition("/")[2]
    return "".join(character for character in last if character.isprintable()).strip() or "picture"


def _too_large(size: int, limit: int) -> Problem:
    words = f"The file has {size / 1e6:.1f} MB; {limit / 1e6:.0f} MB is the most. Send a smaller copy."
    return Problem("too_many_bytes", words)
