"""A result row as a line of CSV: the same table from the server and from the command line. Standard library only.

entry,name,status,label1,index1,probability1,…,label5,index5,probability5,code,message
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["TOP_K", "cells", "header"]

TOP_K = 5
"""Predictions a row."""

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def header() -> list[str]:
    """The columns' names."""
    ranks = [f"{column}{rank}" for rank in range(1, TOP_K + 1) for column in ("label", "index", "probability")]
    return ["entry", "name", "status", *ranks, "code", "message"]


def cells(row: Mapping[str, Any]) -> list[str | int | float]:
    """The row's cells; of a skipped one the reason stands as its code."""
    found: list[str | int | float] = [row["entry"], _text(row["name"]), row["status"]]
    for prediction in row.get("predictions", [])[:TOP_K]:
        found += [_text(prediction["label"]), prediction["index"], prediction["probability"]]
    found += [""] * (3 + 3 * TOP_K - len(found))
    error = row.get("error") or {"code": row.get("reason", ""), "message": ""}
    return [*found, error["code"], _text(error["message"])]


def _text(words: str) -> str:
    # A spreadsheet runs a cell that starts like a formula; a leading apostrophe makes it text.
    return f"'{words}" if words.lstrip(" ").startswith(_FORMULA_STARTS) else words
