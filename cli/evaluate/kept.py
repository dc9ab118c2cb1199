"""What was answered already, so that a run that was stopped goes on: one SQLite file beside the results.

An answer belongs to an artefact by its fingerprint, and to a picture by its path, size and time of change. Of an
artefact that was made anew, or a picture that was changed, nothing is kept. Nor are classes: they may be corrected.
Errors last for one run: what caused them may have been mended since.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.labelled import Labelled

NAME = "evaluation.sqlite"
FORMAT = 1
TOP = 5
_TABLES = """
CREATE TABLE IF NOT EXISTS artefacts (id INTEGER PRIMARY KEY, variant TEXT UNIQUE, fingerprint TEXT, zipped INTEGER);
CREATE TABLE IF NOT EXISTS pictures (id INTEGER PRIMARY KEY, path BLOB UNIQUE, size INTEGER, changed INTEGER);
CREATE TABLE IF NOT EXISTS answers (artefact INTEGER, picture INTEGER, top BLOB, error TEXT,
    PRIMARY KEY (artefact, picture)) WITHOUT ROWID;
"""

Top = npt.NDArray[np.int16]
"""int16[N,5]: the five most probable indices of N pictures, the most probable first; -1 where there is none."""


@dataclass(frozen=True)
class Answer:
    """One variant's answer to one picture: its five best, or why there is none."""

    top: tuple[int, ...] = ()
    error: str | None = None


@dataclass
class Answers:
    """All answers of a variant, by the pictures' places: `top` is int16[N,5], `errors` why there is none."""

    top: Top
    errors: dict[int, str]

    def missing(self) -> list[int]:
        """The places that have neither."""
        return [place for place in np.flatnonzero(self.top[:, 0] < 0).tolist() if place not in self.errors]

    def note(self, place: int, answer: Answer) -> None:
        """Takes one answer in."""
        if answer.error is None:
            self.top[place, : len(answer.top)] = answer.top
        else:
            self.errors[place] = answer.error


class Kept:
    """The file. Everything raises sqlite3.Error where it cannot be used; `commit` makes what was added last."""

    def __init__(self, path: Path, pictures: Sequence[Labelled]) -> None:
        self._base = sqlite3.connect(path, timeout=1)
        self._base.execute("PRAGMA locking_mode = EXCLUSIVE")
        version = self._base.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, FORMAT):
            raise sqlite3.DatabaseError(f"it has format {version}, and this version writes {FORMAT}")
        self._base.executescript(f"{_TABLES} PRAGMA user_version = {FORMAT};")
        self._base.execute("DELETE FROM answers WHERE error IS NOT NULL")
        self._ids = self._picture_ids(pictures)
        self.commit()

    def _picture_ids(self, pictures: Sequence[Labelled]) -> list[int]:
        rows = self._base.execute("SELECT id, path, size, changed FROM pictures")
        known = {path: (number, stamp) for number, path, *stamp in rows}
        ids = []
        for picture in pictures:
            path, stamp = os.fsencode(picture.path.absolute()), _stamp(picture.path)
            number, before = known.get(path, (0, []))
            if not number:
                new = self._base.execute("INSERT INTO pictures (path, size, changed) VALUES (?, ?, ?)", (path, *stamp))
                number = new.lastrowid or 0
            elif before != stamp:
                self._base.execute("DELETE FROM answers WHERE picture = ?", (number,))
                self._base.execute("UPDATE pictures SET size = ?, changed = ? WHERE id = ?", (*stamp, number))
            ids.append(number)
        return ids

    def artefact(self, variant: str, fingerprint: str) -> int:
        """The number that a variant is kept by; what an earlier artefact of it answered is forgotten."""
        row = self._base.execute("SELECT id, fingerprint FROM artefacts WHERE variant = ?", (variant,)).fetchone()
        if row and row[1] == fingerprint:
            return int(row[0])
        if row:
            self._base.execute("DELETE FROM answers WHERE artefact = ?", row[:1])
            self._base.execute("DELETE FROM artefacts WHERE id = ?", row[:1])
        new = self._base.execute("INSERT INTO artefacts (variant, fingerprint) VALUES (?, ?)", (variant, fingerprint))
        return int(new.lastrowid or 0)

    def answers(self, artefact: int) -> Answers:
        """What it has answered of the pictures given."""
        found = Answers(np.full((len(self._ids), TOP), -1, dtype=np.int16), {})
        place_of = {number: place for place, number in enumerate(self._ids)}
        for picture, top, error in self._base.execute(
            "SELECT picture, top, error FROM answers WHERE artefact = ?", (artefact,)
        ):
            if picture in place_of:
                found.note(place_of[picture], Answer(tuple(np.frombuffer(top or b"", dtype="<i2").tolist()), error))
        return found

    def add(self, place: int, answers: Iterable[tuple[int, Answer]]) -> None:
        """The answers of several artefacts to the picture at `place`."""
        rows = [
            (artefact, self._ids[place], np.array(answer.top, dtype="<i2").tobytes(), answer.error)
            for artefact, answer in answers
        ]
        self._base.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?)", rows)

    def zipped(self, artefact: int) -> int | None:
        """How many bytes its files take when zipped, if that was seen."""
        row = self._base.execute("SELECT zipped FROM artefacts WHERE id = ?", (artefact,)).fetchone()
        return row[0] if row else None

    def add_zipped(self, artefact: int, size: int) -> None:
        """Keeps that."""
        self._base.execute("UPDATE artefacts SET zipped = ? WHERE id = ?", (size, artefact))

    def commit(self) -> None:
        """What was added survives from here on, whatever happens to the process."""
        self._base.commit()

    def close(self) -> None:
        """Commits, and lets others use the file."""
        self._base.commit()
        self._base.close()


def _stamp(path: Path) -> list[int]:
    try:
        state = path.stat()
    except OSError:
        return [-1, -1]
    return [state.st_size, state.st_mtime_ns]


def forget(folder: Path) -> None:
    """Removes the file, and the journal of a process that was killed, which belongs to it. Raises OSError."""
    for name in (f"{NAME}-journal", NAME):
        (folder / name).unlink(missing_ok=True)
