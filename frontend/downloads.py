"""The results as files: JSON in the API's shape, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from frontend.api import Answer, VariantName
from frontend.side_by_side import Cell, SideBySide

__all__ = ["as_csv", "as_json", "comparison_csv", "comparison_json"]

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")


def as_json(variant: VariantName, answers: Sequence[Answer], top_k: int) -> str:
    """{"model", "precision", "results": […]}, as POST /v1/predict would have answered with this top_k."""
    results = [_result(answer, top_k) for answer in answers]
    body = {"model": variant.model, "precision": variant.precision, "results": results}
    return json.dumps(body, indent=2, ensure_ascii=False) + "\n"


def as_csv(answers: Sequence[Answer], top_k: int) -> str:
    """name,status,label1,index1,probability1,…,code,message; a row for each picture."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_columns(top_k))
    writer.writerows(_row(answer, top_k) for answer in answers)
    return out.getvalue()


def comparison_json(table: SideBySide, top_k: int) -> str:
    """{"variants": [{"model", "precision", "median_milliseconds", "results"}]}; the results as POST /v1/predict has
    them, each with its "milliseconds" from the page's request to the answer."""
    variants = [
        {
            "model": variant.model,
            "precision": variant.precision,
            "median_milliseconds": _milliseconds(table.typical_seconds(variant)),
            "results": [
                _result(cell.answer, top_k) | {"milliseconds": _milliseconds(cell.seconds)}
                for _, cell in _column(table, variant)
            ],
        }
        for variant in table.variants
    ]
    return json.dumps({"variants": variants}, indent=2, ensure_ascii=False) + "\n"


def comparison_csv(table: SideBySide, top_k: int) -> str:
    """picture,model,precision,milliseconds,differs, and the columns of `as_csv`; a row for each picture and variant."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["picture", "model", "precision", "milliseconds", "differs", *_columns(top_k)])
    for variant in table.variants:
        for place, cell in _column(table, variant):
            took = _milliseconds(cell.seconds)
            differs = str(table.differs(table.pictures[place - 1], variant)).lower() if cell.answer.predictions else ""
            known = [place, variant.model, variant.precision, "" if took is None else took, differs]
            writer.writerow([*known, *_row(cell.answer, top_k)])
    return out.getvalue()


def _column(table: SideBySide, variant: VariantName) -> list[tuple[int, Cell]]:
    found = ((place, table.cell(picture, variant)) for place, picture in enumerate(table.pictures, 1))
    return [(place, cell) for place, cell in found if cell]


def _milliseconds(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _columns(top_k: int) -> list[str]:
    ranks = [f"{column}{rank}" for rank in range(1, top_k + 1) for column in ("label", "index", "probability")]
    return ["name", "status", *ranks, "code", "message"]


def _result(answer: Answer, top_k: int) -> dict[str, object]:
    if answer.problem:
        error = {"code": answer.problem.code, "message": answer.problem.message}
        return {"name": answer.name, "status": "error", "error": error}
    predictions = [
        {"label": p.label, "index": p.index, "probability": p.probability} for p in answer.predictions[:top_k]
    ]
    return {"name": answer.name, "status": "ok", "predictions": predictions}


def _row(answer: Answer, top_k: int) -> list[str | int | float]:
    cells: list[str | int | float] = [_text(answer.name), "error" if answer.problem else "ok"]
    for prediction in answer.predictions[:top_k]:
        cells += [_text(prediction.label), prediction.index, prediction.probability]
    cells += [""] * (2 + 3 * top_k - len(cells))
    return cells + ([answer.problem.code, _text(answer.problem.message)] if answer.problem else ["", ""])


def _text(words: str) -> str:
    # A spreadsheet runs a cell that starts like a formula; a leading apostrophe makes it text.
    return f"'{words}" if words.lstrip(" ").startswith(_FORMULA_STARTS) else words
