"""The results as files: JSON in the API's shape, CSV for a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

from frontend.api import Answer, VariantName

__all__ = ["as_csv", "as_json"]

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
    ranks = [f"{column}{rank}" for rank in range(1, top_k + 1) for column in ("label", "index", "probability")]
    writer.writerow(["name", "status", *ranks, "code", "message"])
    writer.writerows(_row(answer, top_k) for answer in answers)
    return out.getvalue()


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
