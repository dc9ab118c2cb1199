"""The rows of a finished prediction as a table on disk: read in pieces, filtered, sorted and counted by SQLite.

100,000 rows take a few megabytes of memory here, whoever looks at them and however.
"""

from __future__ import annotations

import csv
import io
import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

__all__ = ["ORDERS", "STATUSES", "TOP", "Found", "Row", "Rows", "Wanted", "read_rows"]

TOP = 5
STATUSES = ("ok", "error", "skipped")
_LABELS = [f"label{rank}" for rank in range(1, TOP + 1)]
_SHARES = [f"probability{rank}" for rank in range(1, TOP + 1)]
_TEXTS = ("name", "status", *_LABELS, "code", "message")
_COLUMNS = ("entry", "name", "status", *_LABELS, *_SHARES, "code", "message")
_TOGETHER = 1000
# The API puts an apostrophe before what a spreadsheet would run; this is no spreadsheet.
_APOSTROPHE = re.compile(r"^'(?=[ ]*[=+\-@\t\r\n])")
ORDERS = {
    "As in the zip": "entry",
    "Most certain first": "probability1 DESC NULLS LAST, entry",
    "Least certain first": "probability1 ASC NULLS LAST, entry",
    "By name": "folded, entry",
    "By class": "NULLIF(label1, '') ASC NULLS LAST, entry",
}

Row = Mapping[str, Any]
"""One entry, with the columns of the API's CSV that are shown; probabilities are None where there is no prediction."""


@dataclass(frozen=True)
class Wanted:
    """What of the rows is to be seen. Empty `labels` and `statuses`: all. `least`: 0..1, of the best prediction."""

    labels: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()
    least: float = 0.0
    text: str = ""
    order: str = "As in the zip"


class _Pieces(io.RawIOBase):
    """Pieces of bytes as a file that is read once, so that the text as a whole is nowhere."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        taken = min(len(buffer), len(self._left))
        buffer[:taken], self._left = self._left[:taken], self._left[taken:]
        return taken


class Rows:
    """One row an entry. Safe to share between visits; gone with its last reader."""

    def __init__(self, lines: Iterable[Sequence[Any]]) -> None:
        # Without a name: a file of its own that SQLite makes, and removes when it is closed.
        self._database = sqlite3.connect("", check_same_thread=False)
        self._alone = threading.Lock()
        columns = ", ".join(f"{name} REAL" if name in _SHARES else name for name in _COLUMNS[1:])
        self._database.execute(f"CREATE TABLE entries (entry INTEGER PRIMARY KEY, {columns}, folded)")
        places = ", ".join("?" * (len(_COLUMNS) + 1))
        lines = iter(lines)
        while some := list(islice(lines, _TOGETHER)):
            self._database.executemany(f"INSERT INTO entries VALUES ({places})", some)  # noqa: S608  # question marks
        self._database.commit()
        self.by_label = self.find(Wanted()).by_label()
        counts = dict(self.ask("SELECT status, COUNT(*) FROM entries GROUP BY status"))
        self.by_status = {status: int(counts.get(status, 0)) for status in STATUSES}

    def find(self, wanted: Wanted) -> Found:
        """The rows that are wanted, in the order that is wanted; without a prediction last where it goes by one."""
        return Found(self, wanted)

    def ask(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What SQLite answers."""
        with self._alone:
            return self._database.execute(query, values).fetchall()


class Found:
    """Those rows that were wanted; nothing is read before it is asked for."""

    def __init__(self, rows: Rows, wanted: Wanted) -> None:
        self._rows = rows
        self._order = ORDERS[wanted.order]
        self._where, self._values = _condition(wanted)

    def __len__(self) -> int:
        return int(self._rows.ask(f"SELECT COUNT(*) FROM entries WHERE {self._where}", self._values)[0][0])  # noqa: S608

    def page(self, first: int, last: int) -> list[Row]:
        """The rows [first, last) of what was found."""
        found = self._rows.ask(
            f"SELECT {', '.join(_COLUMNS)} FROM entries WHERE {self._where} ORDER BY {self._order} LIMIT ? OFFSET ?",  # noqa: S608
            [*self._values, last - first, first],
        )
        return [dict(zip(_COLUMNS, cells, strict=True)) for cells in found]

    def by_label(self) -> dict[str, int]:
        """How many rows each class is the best of, most frequent first; equals by name."""
        found = self._rows.ask(
            f"SELECT label1, COUNT(*) AS number FROM entries WHERE status = 'ok' AND {self._where} "  # noqa: S608
            "GROUP BY label1 ORDER BY number DESC, label1",
            self._values,
        )
        return {str(label): int(number) for label, number in found}


def _condition(wanted: Wanted) -> tuple[str, list[Any]]:
    """SQL and its values: what a person wrote is never part of the SQL."""
    parts, values = ["TRUE"], list[Any]()
    for column, kept in (("label1", wanted.labels), ("status", wanted.statuses)):
        if kept:
            parts.append(f"{column} IN ({', '.join('?' * len(kept))})")
            values += kept
    if wanted.least > 0:
        parts.append("probability1 >= ?")
        values.append(wanted.least)
    if wanted.text:
        parts.append("INSTR(folded, ?) > 0")
        values.append(wanted.text.casefold())
    return " AND ".join(parts), values


def read_rows(pieces: Iterator[bytes]) -> Rows:
    """The API's CSV. Raises ValueError where it is not of the API's shape."""
    file = io.TextIOWrapper(io.BufferedReader(_Pieces(pieces), 1 << 18), encoding="utf-8", newline="")
    table = csv.DictReader(file)
    missing = set(_COLUMNS) - set(table.fieldnames or ())
    if missing:
        raise ValueError(f"columns that were expected are missing: {', '.join(sorted(missing))}")
    try:
        return Rows(_line(row) for row in table)
    except (TypeError, AttributeError, csv.Error, sqlite3.Error) as error:
        raise ValueError(f"a row is not what was expected: {error}") from error


def _line(row: Mapping[str, str]) -> list[Any]:
    if None in row or None in row.values():
        raise ValueError("a row has more or fewer cells than expected")
    cells: dict[str, Any] = {name: row[name] for name in _TEXTS}
    cells["name"] = _APOSTROPHE.sub("", cells["name"])
    cells["entry"] = int(row["entry"])
    cells |= {name: float(row[name]) if row[name] else None for name in _SHARES}
    return [*(cells[name] for name in _COLUMNS), cells["name"].casefold()]
