from __future__ import annotations

import csv
import io
import json

import pytest

from frontend.api import Answer, Prediction, Problem, VariantName
from frontend.downloads import as_csv, as_json, comparison_csv, comparison_json
from frontend.pictures import Picture
from frontend.side_by_side import Cell, SideBySide

GOOD = Answer("cat.jpg", (Prediction("tabby, tabby cat", 281, 0.75), Prediction("lynx", 287, 0.1)))
BAD = Answer("note.jpg", problem=Problem("corrupt", "The picture is damaged."))


def rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_json_has_the_shape_of_the_api() -> None:
    assert json.loads(as_json(VariantName("small", "fp32"), [GOOD, BAD], 1)) == {
        "model": "small",
        "precision": "fp32",
        "results": [
            {
                "name": "cat.jpg",
                "status": "ok",
                "predictions": [{"label": "tabby, tabby cat", "index": 281, "probability": 0.75}],
            },
            {"name": "note.jpg", "status": "error", "error": {"code": "corrupt", "message": "The picture is damaged."}},
        ],
    }


def test_csv_has_a_row_a_picture_and_three_columns_a_rank() -> None:
    assert rows(as_csv([GOOD, BAD], 2)) == [
        ["name", "status", "label1", "index1", "probability1", "label2", "index2", "probability2", "code", "message"],
        ["cat.jpg", "ok", "tabby, tabby cat", "281", "0.75", "lynx", "287", "0.1", "", ""],
        ["note.jpg", "error", "", "", "", "", "", "", "corrupt", "The picture is damaged."],
    ]


def test_csv_pads_where_there_are_fewer_predictions_than_asked_for() -> None:
    assert {len(row) for row in rows(as_csv([GOOD, BAD], 10))} == {2 + 30 + 2}


@pytest.mark.parametrize("name", ["=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\t=1", " =1", "\r=1"])
def test_no_cell_starts_a_formula(name: str) -> None:
    cell = rows(as_csv([Answer(name, problem=Problem("x", name))], 1))[1]
    assert cell[0] == cell[-1] == f"'{name}"


def test_quotes_commas_and_line_breaks_survive() -> None:
    name = 'a "b", c\nd 🦜'
    assert rows(as_csv([Answer(name, problem=Problem("x", "y"))], 1))[1][0] == name


FP32, INT8 = VariantName("small", "fp32"), VariantName("small", "int8")
LYNX = Answer("cat.jpg", (Prediction("lynx", 287, 0.5),))
TABLE = SideBySide(
    (Picture(7, "cat.jpg", b"", None), Picture(9, "=1.jpg", b"", None)),
    (FP32, INT8),
    {(7, FP32): Cell(GOOD, 0.0123456), (7, INT8): Cell(LYNX, 0.004), (9, FP32): Cell(BAD)},
)


def test_a_comparison_has_a_row_a_picture_and_variant() -> None:
    head, *lines = rows(comparison_csv(TABLE, 1))
    assert [dict(zip(head, line, strict=True)) for line in lines] == [
        {
            "picture": place, "model": "small", "precision": precision, "milliseconds": took, "differs": differs,
            "name": name, "status": status, "label1": label, "index1": index, "probability1": probability,
            "code": code, "message": message,
        }
        for place, precision, took, differs, name, status, label, index, probability, code, message in (
            ("1", "fp32", "12.35", "false", "cat.jpg", "ok", "tabby, tabby cat", "281", "0.75", "", ""),
            ("2", "fp32", "", "", "note.jpg", "error", "", "", "", "corrupt", "The picture is damaged."),
            ("1", "int8", "4.0", "true", "cat.jpg", "ok", "lynx", "287", "0.5", "", ""),
        )
    ]  # fmt: skip


def test_no_cell_of_a_comparison_starts_a_formula() -> None:
    evil = Answer("=1+1", (Prediction("@SUM(1)", 1, 0.5),))
    table = SideBySide((Picture(1, "=1+1", b"", None),), (FP32,), {(1, FP32): Cell(evil, 0.1)})
    assert rows(comparison_csv(table, 1))[1][5:8] == ["'=1+1", "ok", "'@SUM(1)"]


def test_a_comparison_as_json_has_the_results_of_each_variant_in_the_shape_of_the_api() -> None:
    fp32, int8 = json.loads(comparison_json(TABLE, 1))["variants"]
    assert (fp32["model"], fp32["precision"], fp32["median_milliseconds"]) == ("small", "fp32", 12.35)
    plain = json.loads(as_json(FP32, [GOOD, BAD], 1))["results"]
    assert fp32["results"] == [plain[0] | {"milliseconds": 12.35}, plain[1] | {"milliseconds": None}]
    assert [result["predictions"][0]["label"] for result in int8["results"]] == ["lynx"]
