"""The results of a batch as a file: written row by row under another name, and given its own once it is whole."""

from __future__ import annotations

import csv
import json
import os
import secrets
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any

from cli.server import CannotAnswer
from contract.result_rows import cells, header

__all__ = ["Format", "ResultsFile", "Row"]

Row = dict[str, Any]


class Format(StrEnum):
    """How the file looks: the API's JSON, one JSON object a line, or a table for a spreadsheet."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class ResultsFile:
    """Takes the rows one after the other; nothing is at `target` until `finish`. Raises CannotAnswer, later OSError."""

    def __init__(self, target: Path, format: Format, file_name: str) -> None:
        self.target = target
        self.statuses: Counter[str] = Counter()
        self._format = format
        self._path = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
        try:
            self._file = self._path.open("x", encoding="utf-8", errors="replace", newline="")
        except OSError as error:
            raise CannotAnswer(f"{target} cannot be written: {error.strerror or error}") from error
        self._table = csv.writer(self._file, lineterminator="\r\n")
        if format is Format.JSON:
            self._file.write(f'{{"filename": {_json(file_name)},\n"results": [')
        elif format is Format.CSV:
            self._table.writerow(header())

    def add(self, row: Row) -> None:
        """The next row."""
        if self._format is Format.CSV:
            self._table.writerow(cells(row))
        elif self._format is Format.JSONL:
            self._file.write(_json(row) + "\n")
        else:
            self._file.write((",\n" if self.statuses else "\n") + _json(row))
        self.statuses[row["status"]] += 1

    @property
    def counts(self) -> dict[str, int]:
        """predictions + errors + skipped = entries, so far."""
        ok, errors, skipped = (self.statuses[status] for status in ("ok", "error", "skipped"))
        return {"predictions": ok, "errors": errors, "skipped": skipped, "entries": ok + errors + skipped}

    def finish(self, head: Mapping[str, Any]) -> None:
        """Closes the file and gives it its name. JSON gets `head` and the counts behind the rows."""
        if self._format is Format.JSON:
            pairs = {**head, "counts": self.counts}
            self._file.write("\n],\n" + ",\n".join(f"{_json(key)}: {_json(pairs[key])}" for key in pairs) + "}\n")
        self._file.close()
        os.replace(self._path, self.target)  # noqa: PTH105  # Path.replace says nothing of what is at the target

    def discard(self) -> None:
        """Leaves nothing behind, unless it was finished."""
        self._file.close()
        self._path.unlink(missing_ok=True)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
